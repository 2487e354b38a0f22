import { kendall } from '../algorithms/kendall.js';
import { Draws } from '../algorithms/random.js';
import { BoostedTrees } from './boosted-trees.js';
import type { Encoding } from './features.js';
import { type Between, KernelRidge, type KernelSettings, type Predictor } from './kernel-ridge.js';

/** How scores are fitted, and by how many of them that was decided. */
export interface Choice {
  kind: 'kernel' | 'trees';
  settings: KernelSettings;
  rows: number;
}

/** Parts that each are left out once, and rows that the kinds are compared by: the latest. */
const FOLDS = 5;
const COMPARED = 160;
/** Fewest rows of which the order in a part says anything. */
const LEAST = 30;
/** By how much trees have to order networks better than the kernel: Kendall's tau of so few networks is noise below it. */
const MARGIN = 0.05;
/** Streams of random numbers. */
const STREAM = 300;

/**
 * The kind of fit that orders networks better which it was not made of (Kendall's tau, mean over five parts that are left
 * out), since all that a search asks of a fit is which network to try. Of both as good, the kernel.
 */
export function chooseFit(
  rows: readonly Float64Array[],
  targets: readonly number[],
  encoding: Encoding,
  seed: number,
): Choice {
  const settings = KernelRidge.choose(rows, targets, encoding);
  const choice: Choice = { kind: 'kernel', settings, rows: rows.length };
  if (rows.length < LEAST) return choice;
  const [some, scores] = [rows.slice(-COMPARED), targets.slice(-COMPARED)];
  const [kernel, trees] = (['kernel', 'trees'] as const).map((kind) =>
    rankOf(some, scores, (known, found, part) =>
      fit(known, found, encoding, { ...choice, kind }, new Draws(seed, 0, part, STREAM)),
    ),
  ) as [number, number];
  return trees > kernel + MARGIN ? { ...choice, kind: 'trees' } : choice;
}

/** A fit of the kind that was chosen. */
export const fit = (
  rows: readonly Float64Array[],
  targets: readonly number[],
  encoding: Encoding,
  { kind, settings }: Choice,
  draws: Draws,
  between?: Between,
): Predictor =>
  kind === 'trees'
    ? new BoostedTrees(rows, targets, encoding.unordered, draws)
    : new KernelRidge(rows, targets, encoding, settings, between);

/** Mean rank correlation of scores with predictions, over parts that each are predicted from the others. */
function rankOf(
  rows: readonly Float64Array[],
  targets: readonly number[],
  make: (rows: Float64Array[], targets: number[], part: number) => Predictor,
): number {
  const places = Array.from(rows.keys());
  const taus = Array.from({ length: FOLDS }, (_, part) => {
    const known = places.filter((at) => at % FOLDS !== part);
    const left = places.filter((at) => at % FOLDS === part);
    const predictor = make(
      known.map((at) => rows[at]!),
      known.map((at) => targets[at]!),
      part,
    );
    const tau = kendall(
      left.map((at) => predictor.predict(rows[at]!)),
      left.map((at) => targets[at]!),
    );
    return Number.isNaN(tau) ? 0 : tau;
  });
  return taus.reduce((sum, tau) => sum + tau, 0) / FOLDS;
}
