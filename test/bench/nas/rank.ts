import { join } from 'node:path';
import { Draws } from '../../../src/search/algorithms/random.js';
import { randomGenomes } from '../../../src/search/feasible.js';
import type { OpenSearch } from '../../../src/search/open.js';
import { type Genome, genomeKey } from '../../../src/search/space.js';
import { markdown } from '../cost/section.js';
import { Kept } from './kept.js';
import { agreement, type Ranked, rankedBy } from './order.js';
import { alone, copyRecipe, edit, type Judged, judgedOf, openFolder, share, TARGET } from './recipe.js';
import type { NasPlaces, NasSection } from './section.js';

/** Seeds that draw sets of networks, and how many each has: the evaluator was settled with figures of these sets at hand. */
const SEEN = [1, 2, 3] as const;
/** A set that was drawn when everything was settled: it confirms, or does not. */
const FRESH = [4] as const;
const CANDIDATES = 20;
/** Epochs of each network that is trained alone, and the seeds whose mean is its rank: others than the scenario's. */
const EPOCHS = 8;
const SEEDS = [1, 2, 3] as const;
/** Seed of the one epoch: networks that begin alike would be ordered alike by that. */
const OTHER_SEED = 5;

type Changes = readonly [RegExp, string][];
/** Half of all networks keep these limits; few keep the recipe's own, and those are near to each other. */
const HALF: Changes = [[/constraint_value: .*/, 'constraint_value: 1.0']];
/** All networks keep these. */
const ALL: Changes = [
  [/constraint_value: .*/, 'constraint_value: 1000'],
  [/max: 8M/, 'max: 1000M'],
];

/** Random networks that keep some limits: what shared weights say of them, and what training each alone says. */
async function measure(
  places: NasPlaces,
  name: string,
  limits: Changes,
  drawn: readonly number[],
): Promise<string> {
  const folder = copyRecipe(places, `cifar10-${name}`, 7);
  share(folder);
  edit(folder, 'scen.yaml', limits);
  const open = await openFolder(folder, TARGET, places.profile);
  const sets: Genome[][] = drawn.map((seed) =>
    randomGenomes(open.problem, (index) => new Draws(seed, 0, index, 900), [], CANDIDATES),
  );
  const genomes = sets.flat();
  const judged = (scenario: OpenSearch, workers: number, file: string): Promise<Judged[]> =>
    judgedOf(scenario, folder, genomes, workers, new Kept(join(folder, file)));
  const seeds: number[][] = [];
  for (const seed of SEEDS) {
    const file = `alone-${EPOCHS}-${seed}.json`;
    seeds.push(scores(await judged(alone(open, EPOCHS, seed), places.workers, file)));
  }
  const by = genomes.map((_, at) => mean(seeds.map((found) => found[at]!)));
  const asIs = scores(await judged(tuned(open, 0), 1, 'shared-0.json'));
  const after = await judged(open, 1, 'shared.json');
  const short = scores(await judged(alone(open, 1, OTHER_SEED), places.workers, 'alone-1.json'));
  const costs = genomes.map((genome) => open.costs.of(genome));
  const rows: [string, readonly number[]][] = [
    ['shared weights as they are: score', asIs],
    ['shared weights, as a search judges: **loss, which orders networks**', after.map(({ loss }) => -loss!)],
    ['shared weights, as a search judges: score', scores(after)],
    ['one epoch alone: score', short],
    ...open.limits.map(({ cost }, limit): [string, number[]] => [cost, costs.map((one) => one[limit]!)]),
  ];
  const ranked = (values: readonly number[]): Ranked[] => rankedBy(values, by, sets.length);
  return [
    `${sets.length === 1 ? 'A set' : `${sets.length} sets`} of ${CANDIDATES} random networks, each trained alone for ${EPOCHS} epochs by ${SEEDS.length} seeds (means ${spread(by)}).`,
    'Kendall tau with the order of the means, and its standard error over networks:',
    '',
    markdown(
      ['', 'values', ...drawn.map((seed) => `set ${seed}`), ...(sets.length > 1 ? ['all'] : [])],
      rows.map(([what, values]) => [what, spread(values), ...ranked(values).map(shown)]),
    ),
    '',
    ...agreement(seeds),
    '',
    markdown(
      ['network', 'loss', 'score', ...SEEDS.map((seed) => `alone, seed ${seed}`)],
      genomes.map((genome, at) => [
        genomeKey(genome),
        after[at]!.loss!.toFixed(3),
        after[at]!.score.toFixed(1),
        ...seeds.map((found) => found[at]!.toFixed(2)),
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
  `${Math.min(...values).toPrecision(3)} to ${Math.max(...values).toPrecision(3)}`;

const shown = ({ tau, error }: Ranked): string => `${tau.toFixed(2)} ± ${error.toFixed(2)}`;

const sectionOf = (
  name: string,
  what: string,
  limits: Changes,
  drawn: readonly number[] = SEEN,
): NasSection => ({
  name,
  title: `CIFAR-10 recipe: order of ${what} by shared weights and by training each alone`,
  trains: true,
  measure: (places) => measure(places, name, limits, drawn),
});

export const rank = sectionOf('rank', 'networks within limits that half of all keep', HALF);
export const rankWhole = sectionOf('rank-whole', 'networks of the whole space', ALL);
export const rankFresh = sectionOf('rank-fresh', 'networks that nothing was chosen on', ALL, FRESH);
