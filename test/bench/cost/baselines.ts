import { macs } from '../../../src/target/kernel.js';
import type { LoweredNetwork } from '../../../src/target/lower.js';
import { PRECISIONS, type Precision } from '../../../src/target/precision.js';

/** A measured network. */
export interface Row {
  model: string;
  network: LoweredNetwork;
  precision: Precision;
  seconds: number;
}

/** A rule that predicts seconds, fitted to rows. */
type Fitted = (network: LoweredNetwork) => number;
export type Baseline = (rows: readonly Row[]) => Fitted;

/**
 * The factor on units of work that brings them nearest to measured seconds by mean relative error, which is what rules are
 * judged by. It is one of the quotients: between them the error is linear.
 */
function bestPace(units: readonly number[], seconds: readonly number[]): { pace: number; error: number } {
  let best = { pace: 1, error: Number.POSITIVE_INFINITY };
  for (const [index, unit] of units.entries()) {
    const pace = seconds[index]! / unit;
    const error = units.reduce((sum, one, i) => sum + Math.abs((pace * one) / seconds[i]! - 1), 0);
    if (error < best.error) best = { pace, error };
  }
  return best;
}

/** Multiplications over one rate. */
export const macsOverRate: Baseline = (rows) => {
  const work = ({ kernels }: LoweredNetwork): number =>
    kernels.reduce((sum, kernel) => sum + macs(kernel), 0);
  const { pace } = bestPace(
    rows.map(({ network }) => work(network)),
    rows.map(({ seconds }) => seconds),
  );
  return (network) => pace * work(network);
};

/** Bytes per multiplication at which a device changes sides: all that make sense, from memory that is never in the way. */
const RIDGES = Array.from({ length: 121 }, (_, index) => 10 ** (-4 + index / 20));

/**
 * A plain roofline: each layer takes the longer of its multiplications over one rate and its bytes over another
 * (Williams, Waterman, Patterson, "Roofline", CACM 2009); no padding, no starts.
 */
export const plainRoofline: Baseline = (rows) => {
  const precision = rows[0]!.precision;
  const units = (network: LoweredNetwork, ridge: number): number =>
    layers(network, precision).reduce((sum, { work, bytes }) => sum + Math.max(work, bytes * ridge), 0);
  const seconds = rows.map((row) => row.seconds);
  const fits = RIDGES.map((ridge) => ({
    ridge,
    ...bestPace(
      rows.map(({ network }) => units(network, ridge)),
      seconds,
    ),
  }));
  const { ridge, pace } = fits.reduce((best, fit) => (fit.error < best.error ? fit : best));
  return (network) => pace * units(network, ridge);
};

function layers({ kernels, tensors }: LoweredNetwork, precision: Precision) {
  const { activations, weights } = PRECISIONS[precision];
  return kernels.map((kernel) => {
    const moved = [...kernel.reads, ...kernel.writes].reduce(
      (sum, tensor) => sum + tensors.get(tensor)!.elements,
      0,
    );
    return {
      work: macs(kernel),
      bytes: kernel.unit === 'free' ? 0 : (moved * activations + kernel.weights * weights) / 8,
    };
  });
}

/** Each network by a rule that was fitted to the others. */
export const leftOut = (rows: readonly Row[], baseline: Baseline): number[] =>
  rows.map(({ model, network }) => baseline(rows.filter((row) => row.model !== model))(network));
