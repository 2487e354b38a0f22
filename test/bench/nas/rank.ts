import { join } from 'node:path';
import { Draws } from '../../../src/search/algorithms/random.js';
import { randomGenomes } from '../../../src/search/feasible.js';
import type { OpenSearch } from '../../../src/search/open.js';
import { genomeKey } from '../../../src/search/space.js';
import { markdown } from '../cost/section.js';
import { kendall } from './kendall.js';
import { Kept } from './kept.js';
import { alone, copyRecipe, edit, openFolder, scoresOf, share, TARGET } from './recipe.js';
import type { NasPlaces, NasSection } from './section.js';

const CANDIDATES = 20;
/** Epochs of each network that is trained alone, and the seeds whose mean is its rank. */
const EPOCHS = 4;
const SEEDS = [0, 1] as const;
/** Batches that networks go on with from shared weights: none, and an epoch. */
const TUNE = [0, 78] as const;
/** Half of all networks keep this limit; few keep the recipe's own, and those are near to each other. */
const LIMIT: [RegExp, string] = [/constraint_value: .*/, 'constraint_value: 1.0'];

/** Random networks: what shared weights say of them, and what training each alone says. */
async function measure(places: NasPlaces): Promise<string> {
  const folder = copyRecipe(places, 'cifar10-rank', 7);
  share(folder);
  edit(folder, 'scen.yaml', [LIMIT]);
  const open = await openFolder(folder, TARGET);
  const genomes = randomGenomes(open.problem, (index) => new Draws(1, 0, index, 900), [], CANDIDATES);
  const seeds: number[][] = [];
  for (const seed of SEEDS) {
    const kept = new Kept(join(folder, `alone-${EPOCHS}-${seed}.json`));
    seeds.push(await scoresOf(alone(open, EPOCHS, seed), folder, genomes, places.workers, kept));
  }
  const by = genomes.map((_, at) => mean(seeds.map((scores) => scores[at]!)));

  const scores: number[][] = [];
  const rows: string[][] = [];
  for (const tune of TUNE) {
    const start = performance.now();
    const kept = new Kept(join(folder, `shared-${tune}.json`));
    const found = await scoresOf(tuned(open, tune), folder, genomes, 1, kept);
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    scores.push(found);
    rows.push([`shared weights and ${tune} batches`, spread(found), kendall(found, by).toFixed(2), seconds]);
  }
  const short = await scoresOf(
    alone(open, 1),
    folder,
    genomes,
    places.workers,
    new Kept(join(folder, 'alone-1.json')),
  );
  rows.push(['one epoch alone', spread(short), kendall(short, by).toFixed(2), '']);
  const costs = genomes.map((genome) => open.costs.of(genome));
  open.limits.forEach(({ cost }, limit) => {
    const values = costs.map((one) => one[limit]!);
    rows.push([cost, '', kendall(values, by).toFixed(2), '']);
  });
  const ceiling = kendall(seeds[0]!, seeds[1]!).toFixed(2);
  return [
    `${genomes.length} random networks, each trained alone for ${EPOCHS} epochs by ${SEEDS.length} seeds (means ${spread(by)}). Kendall tau of one seed and the other: ${ceiling}; of the means and`,
    '',
    markdown(['', 'scores', 'Kendall tau', 'seconds'], rows),
    '',
    markdown(
      ['network', ...TUNE.map((tune) => `shared, ${tune}`), 'alone'],
      genomes.map((genome, at) => [
        genomeKey(genome),
        ...scores.map((found) => String(found[at])),
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

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

const spread = (scores: readonly number[]): string =>
  `${Math.min(...scores).toFixed(1)} to ${Math.max(...scores).toFixed(1)} %`;

export const rank: NasSection = {
  name: 'rank',
  title: 'CIFAR-10 recipe: order of networks by shared weights and by training each alone',
  trains: true,
  measure,
};
