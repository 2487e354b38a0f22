import { join } from 'node:path';
import { Draws } from '../../../src/search/algorithms/random.js';
import { randomGenomes } from '../../../src/search/feasible.js';
import { genomeKey } from '../../../src/search/space.js';
import { markdown } from '../cost/section.js';
import { kendall } from './kendall.js';
import { Kept } from './kept.js';
import { alone, copyRecipe, openFolder, scoresOf, share, TARGET } from './recipe.js';
import type { NasPlaces, NasSection } from './section.js';

const CANDIDATES = 20;
/** Epochs of each network that is trained alone. */
const EPOCHS = 4;

/** Random networks that keep the recipe's limits: what shared weights say of them, and what training each alone says. */
async function measure(places: NasPlaces): Promise<string> {
  const folder = copyRecipe(places, 'cifar10', 6);
  share(folder);
  const open = await openFolder(folder, TARGET);
  const genomes = randomGenomes(open.problem, (index) => new Draws(1, 0, index, 900), [], CANDIDATES);
  const kept = new Kept(join(folder, `alone-${EPOCHS}.json`));
  const by = await scoresOf(alone(open, EPOCHS), folder, genomes, places.workers, kept);
  const shared = await scoresOf(open, folder, genomes, 1);
  const costs = genomes.map((genome) => open.costs.of(genome));
  const rows = open.limits.map(({ cost }, at) => [
    cost,
    kendall(
      costs.map((one) => one[at]!),
      by,
    ).toFixed(2),
  ]);
  return [
    `${genomes.length} random networks, each trained alone for ${EPOCHS} epochs (${spread(by)}), and with shared weights after ${open.scenario.epochs} (${spread(shared)}): Kendall tau **${kendall(shared, by).toFixed(2)}**. For comparison, the costs:`,
    '',
    markdown(['', 'Kendall tau'], rows),
    '',
    markdown(
      ['network', 'shared', 'alone'],
      genomes.map((genome, at) => [genomeKey(genome), String(shared[at]), String(by[at])]),
    ),
  ].join('\n');
}

const spread = (scores: readonly number[]): string =>
  `${Math.min(...scores).toFixed(1)} to ${Math.max(...scores).toFixed(1)} %`;

export const rank: NasSection = {
  name: 'rank',
  title: 'CIFAR-10 recipe: order of networks by shared weights and by training each alone',
  trains: true,
  measure,
};
