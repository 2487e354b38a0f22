import { join } from 'node:path';
import { BLOCKS, WIDTHS } from '../../../src/search/network/layers.js';
import { search } from '../../../src/search/search.js';
import { genomeOf } from '../../../src/search/space.js';
import { markdown } from '../cost/section.js';
import { Kept } from './kept.js';
import { alone, copyRecipe, edit, openFolder, optionsOf, type Recipe, scoresOf, TARGET } from './recipe.js';
import type { NasPlaces, NasSection } from './section.js';

const SEEDS = [0, 1, 2] as const;
/** Epochs of retraining. */
const EPOCHS = 10;
/** Only the last file of pictures judges. */
const LAST_JUDGES: [string, string] = [
  'files[:-2] if training else files[-2:]',
  'files[:-1] if training else files[-1:]',
];
/** Residual blocks of 16, 32 and 64 channels, as ResNet-8 has them (Banbury et al., "MLPerf Tiny Benchmark", 2021). */
const RESNET8 = { filters: '16,32,64', strides: '1,2,2' };

/**
 * Searches with the first six files of pictures, the last two of which judge, then trains the best network and ResNet-8 on
 * all six and judges both on the seventh, which the search has not seen.
 */
async function measure(places: NasPlaces, recipe: Recipe): Promise<string> {
  const searched = copyRecipe(places, recipe, 6, recipe);
  const found = await search({
    ...optionsOf(searched, TARGET),
    out: searched,
    strategy: 'evolution',
    workers: places.workers,
    extend: false,
  });
  const best = [...found.networks].sort((a, b) => b.score - a.score)[0]!;

  const retrained = copyRecipe(places, `${recipe}-retrain`, 7, recipe);
  const open = await openFolder(retrained, TARGET);
  const baseline = copyRecipe(places, `${recipe}-resnet8`, 7, recipe);
  edit(baseline, 'scen.yaml', [
    [/filters: .*/, `filters: ${RESNET8.filters}`],
    [/strides: .*/, `strides: ${RESNET8.strides}`],
  ]);
  for (const folder of [retrained, baseline]) edit(folder, 'user_module.py', [LAST_JUDGES]);
  // Keras asks for no number of channels.
  if (recipe === 'cifar10_torch')
    edit(baseline, 'user_module.py', [['nn.Linear(256, 10)', 'nn.Linear(64, 10)']]);
  const resnet = await openFolder(baseline, TARGET);
  const block = [BLOCKS.indexOf('residual'), 0, 0, 0, WIDTHS.length - 1];
  const both = [
    { name: 'ResNet-8', open: resnet, folder: baseline, genome: [block, block, block].flat() },
    { name: `found (${best.key})`, open, folder: retrained, genome: genomeOf(best.key) },
  ];
  const rows: string[][] = [];
  const scores: number[][] = [];
  for (const { name, open: scenario, folder, genome } of both) {
    const row: number[] = [];
    for (const seed of SEEDS) {
      const kept = new Kept(join(folder, `alone-${EPOCHS}-${seed}.json`));
      row.push(...(await scoresOf(alone(scenario, EPOCHS, seed), folder, [genome], 1, kept)));
    }
    scores.push(row);
    const costs = scenario.costs.of(genome).map((cost) => cost.toPrecision(4));
    rows.push([name, ...costs, ...row.map((score) => score.toFixed(1)), mean(row).toFixed(1)]);
  }
  const [theirs, ours] = scores as [number[], number[]];
  const differences = ours.map((score, seed) => score - theirs[seed]!);
  return [
    markdown(
      ['', ...open.limits.map(({ cost }) => cost), ...SEEDS.map((seed) => `seed ${seed}`), 'mean'],
      rows,
    ),
    '',
    `The network found is better by **${mean(differences).toFixed(1)}** points (standard error over seeds ${error(differences).toFixed(1)}), ${EPOCHS} epochs each.`,
  ].join('\n');
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
const error = (values: readonly number[]): number => {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)) / (values.length - 1));
};

const sectionOf = (name: string, recipe: Recipe, framework: string): NasSection => ({
  name,
  title: `CIFAR-10 recipe, ${framework}: the network found beside ResNet-8 of the same predicted latency, retrained alike`,
  trains: true,
  measure: (places) => measure(places, recipe),
});

export const better = sectionOf('better', 'cifar10_torch', 'PyTorch');
export const betterTensorflow = sectionOf('better-tf', 'cifar10_tf', 'TensorFlow');
