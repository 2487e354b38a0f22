import { join } from 'node:path';
import { Draws } from '../../../src/search/algorithms/random.js';
import { randomGenomes } from '../../../src/search/feasible.js';
import type { OpenSearch } from '../../../src/search/open.js';
import { genomeKey } from '../../../src/search/space.js';
import { markdown } from '../cost/section.js';
import { kendall } from './kendall.js';
import { Kept } from './kept.js';
import { alone, copyRecipe, edit, type Judged, judgedOf, openFolder, share, TARGET } from './recipe.js';
import type { NasPlaces, NasSection } from './section.js';

const CANDIDATES = 20;
/** Epochs of each network that is trained alone, and the seeds whose mean is its rank: others than the scenario's. */
const EPOCHS = 4;
const SEEDS = [1, 2] as const;
/** Batches for which networks go on from shared weights, beside what the evaluator takes by itself. */
const LONGER = 160;
/** Seed of the one epoch: networks that begin alike would be ordered alike by that. */
const OTHER_SEED = 5;
/** Half of all networks keep these limits; few keep the recipe's own, and those are near to each other. */
const HALF: readonly [RegExp, string][] = [[/constraint_value: .*/, 'constraint_value: 1.0']];
/** All networks keep these. */
const ALL: readonly [RegExp, string][] = [
  [/constraint_value: .*/, 'constraint_value: 1000'],
  [/max: 8M/, 'max: 1000M'],
];

/** Which networks are ranked: random ones that keep some limits, and the seed that draws them. */
interface Candidates {
  limits: typeof HALF;
  draws: number;
}

/** Random networks: what shared weights say of them, and what training each alone says. */
async function measure(places: NasPlaces, name: string, { limits, draws }: Candidates): Promise<string> {
  const folder = copyRecipe(places, `cifar10-${name}`, 7);
  share(folder);
  edit(folder, 'scen.yaml', limits);
  const open = await openFolder(folder, TARGET);
  const genomes = randomGenomes(open.problem, (index) => new Draws(draws, 0, index, 900), [], CANDIDATES);
  const judged = (scenario: OpenSearch, workers: number, file: string): Promise<Judged[]> =>
    judgedOf(scenario, folder, genomes, workers, new Kept(join(folder, file)));
  const seeds: number[][] = [];
  for (const seed of SEEDS)
    seeds.push(
      scores(await judged(alone(open, EPOCHS, seed), places.workers, `alone-${EPOCHS}-${seed}.json`)),
    );
  const by = genomes.map((_, at) => mean(seeds.map((found) => found[at]!)));

  const rows: string[][] = [];
  const row = (what: string, values: readonly number[], shown = ''): void => {
    rows.push([what, shown, kendall(values, by).toFixed(2)]);
  };
  const shared = await judged(tuned(open, 0), 1, 'shared-0.json');
  row('shared weights as they are: score', scores(shared), spread(scores(shared)));
  const after = await judged(open, 1, 'shared.json');
  row('shared weights, as a search judges: score', scores(after), spread(scores(after)));
  const losses = after.map(({ loss }) => -loss!);
  row('shared weights, as a search judges: **loss, which orders networks**', losses);
  const longer = await judged(tuned(open, LONGER), 1, `shared-${LONGER}.json`);
  row(
    `shared weights, tune: ${LONGER}: loss`,
    longer.map(({ loss }) => -loss!),
  );
  const short = scores(await judged(alone(open, 1, OTHER_SEED), places.workers, 'alone-1.json'));
  row('one epoch alone: score', short, spread(short));
  const costs = genomes.map((genome) => open.costs.of(genome));
  open.limits.forEach(({ cost }, limit) => {
    row(
      cost,
      costs.map((one) => one[limit]!),
    );
  });
  const ceiling = kendall(seeds[0]!, seeds[1]!).toFixed(2);
  return [
    `${genomes.length} random networks, each trained alone for ${EPOCHS} epochs by ${SEEDS.length} seeds (means ${spread(by)}). Kendall tau of one seed and the other: ${ceiling}; of the means and`,
    '',
    markdown(['', 'scores', 'Kendall tau'], rows),
    '',
    markdown(
      ['network', 'shared', 'loss', 'alone'],
      genomes.map((genome, at) => [
        genomeKey(genome),
        after[at]!.score.toFixed(1),
        after[at]!.loss!.toFixed(3),
        by[at]!.toFixed(2),
      ]),
    ),
  ].join('\n');
}

/** A scenario whose networks go on with shared weights for so many batches. */
const tuned = (open: OpenSearch, tune: number): OpenSearch => ({
  ...open,
  scenario: { ...open.scenario, evaluator: { ...open.scenario.evaluator, kind: 'supernet', tune } },
});

const scores = (judged: readonly Judged[]): number[] => judged.map(({ score }) => score);

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

const spread = (values: readonly number[]): string =>
  `${Math.min(...values).toFixed(1)} to ${Math.max(...values).toFixed(1)} %`;

const sectionOf = (name: string, what: string, candidates: Candidates): NasSection => ({
  name,
  title: `CIFAR-10 recipe: order of ${what} by shared weights and by training each alone`,
  trains: true,
  measure: (places) => measure(places, name, candidates),
});

export const rank = sectionOf('rank', 'networks within the limits', { limits: HALF, draws: 1 });
/** Settings of the evaluator were chosen on the former. */
export const rankOthers = sectionOf('rank-others', 'other networks within the limits', {
  limits: HALF,
  draws: 2,
});
export const rankWhole = sectionOf('rank-whole', 'networks of the whole space', { limits: ALL, draws: 1 });
