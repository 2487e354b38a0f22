import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TorchProfile } from '../../../src/bridge/profiles.js';
import { streamProgress } from '../../../src/cli/progress.js';
import { pythonEvaluator } from '../../../src/search/evaluator.js';
import { type OpenSearch, openSearch } from '../../../src/search/open.js';
import { type Genome, genomeKey } from '../../../src/search/space.js';
import { Skipped } from '../cost/section.js';
import type { Kept } from './kept.js';
import type { NasPlaces } from './section.js';

/** Files of 1,000 CIFAR-10 pictures among the assets. */
const FILES = 7;

/** A framework's recipe of CIFAR-10. */
export type Recipe = 'cifar10_torch' | 'cifar10_tf';

/**
 * A copy of a recipe for CIFAR-10, whose user_module.py trains on all of the first `files` files of pictures but the
 * last two, and judges on those: the standard error of a score is 1.1 points.
 * @throws Skipped where the pictures are missing
 */
export function copyRecipe(
  { root, assets, work }: NasPlaces,
  name: string,
  files = FILES,
  recipe: Recipe = 'cifar10_torch',
): string {
  const pictures = join(assets, 'data/cifar10');
  if (!existsSync(join(pictures, 'labels.json'))) throw new Skipped(`${pictures} is not there`);
  const folder = join(work, name);
  cpSync(join(root, 'recipes/nas', recipe), folder, { recursive: true });
  mkdirSync(join(folder, 'data'), { recursive: true });
  const taken = Array.from({ length: files }, (_, index) => `train_0${index}.png`);
  for (const file of [...taken, 'labels.json'].filter((name) => !existsSync(join(folder, 'data', name))))
    symlinkSync(join(pictures, file), join(folder, 'data', file));
  return folder;
}

/** Changes a file of a folder; every pattern has to be found in it. */
export function edit(folder: string, file: string, changes: readonly [string | RegExp, string][]): void {
  let text = readFileSync(join(folder, file), 'utf8');
  for (const [before, after] of changes) {
    const next = text.replace(before, after);
    if (next === text) throw new Error(`${file} has no ${before}`);
    text = next;
  }
  writeFileSync(join(folder, file), text);
}

/** Makes the recipe for PyTorch in a folder a search with shared weights: narrower layers, which all choices share. */
export function share(folder: string): void {
  edit(folder, 'scen.yaml', [
    ['epochs: 10', 'epochs: 6'],
    [/filters: .*/, 'filters: 32,32,64,64,128'],
    ['max: 16M', 'max: 8M'],
    [/evaluator: .*/, 'evaluator: {kind: supernet}'],
  ]);
  edit(folder, 'user_module.py', [['nn.Linear(256, 10)', 'nn.Linear(128, 10)']]);
}

/** The device that latencies are predicted for. */
export const TARGET = 'kirin9000';

/** What `dopt search` is told about a folder. */
export const optionsOf = (folder: string, target: string) => ({
  scenario: join(folder, 'scen.yaml'),
  target,
  profile: 'torch' as const,
  gpus: null,
  environment: 'venv' as const,
  threads: 1,
  progress: streamProgress(process.stderr),
  signal: new AbortController().signal,
});

/** Opens the scenario of a folder as `dopt search` does. */
export const openFolder = (
  folder: string,
  target: string,
  profile: TorchProfile = 'torch',
): Promise<OpenSearch> =>
  openSearch({ ...optionsOf(folder, target), profile, work: join(folder, 'log_search') });

/** A scenario whose networks are trained alone, each for so many epochs, from the weights that a seed gives. */
export const alone = (open: OpenSearch, epochs: number, seed = open.scenario.searcher.seed): OpenSearch => ({
  ...open,
  scenario: {
    ...open.scenario,
    searcher: { ...open.scenario.searcher, seed },
    evaluator: { kind: 'standalone', epochs, inherit: false },
  },
});

/** What was found of a network: its score, and its loss where it went on from shared weights. */
export interface Judged {
  score: number;
  loss: number | null;
}

/** Scores of networks, in their order. */
export const scoresOf = async (...given: Parameters<typeof judgedOf>): Promise<number[]> =>
  (await judgedOf(...given)).map(({ score }) => score);

/** What is found of networks, in their order; those that `kept` has are not asked for again. */
export async function judgedOf(
  open: OpenSearch,
  folder: string,
  genomes: readonly Genome[],
  workers: number,
  kept?: Kept,
): Promise<Judged[]> {
  const found = new Map<string, Judged>();
  const left: Genome[] = [];
  for (const genome of genomes) {
    const known = kept?.get(genomeKey(genome));
    if (known === undefined) left.push(genome);
    else found.set(genomeKey(genome), known);
  }
  if (left.length > 0) {
    const progress = streamProgress(process.stderr);
    const evaluator = await pythonEvaluator(open, join(folder, 'log_search'), {
      threads: 1,
      workers,
      progress,
    });
    const work = async (worker: number): Promise<void> => {
      for (let genome = left.shift(); genome; genome = left.shift()) {
        const { key, score, loss = null, reason } = await evaluator.score(genome, worker);
        if (score === null) throw new Error(`${key} has no score: ${reason}`);
        found.set(key, { score, loss });
        kept?.add(key, { score, loss });
      }
    };
    try {
      await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
    } finally {
      await evaluator.close();
    }
  }
  return genomes.map((genome) => found.get(genomeKey(genome))!);
}
