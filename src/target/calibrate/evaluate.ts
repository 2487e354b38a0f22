import type { ParameterFactors } from './features.js';
import { fitFactors, fitKinds, fitScale, median, type Sample } from './fit.js';

/** Measurements from which on the main parameters, and factors by operator, are fitted; below, one scale. */
const ENOUGH_FOR_FACTORS = 8;
const ENOUGH_FOR_KINDS = 50;

/** What is fitted: one scale, the six parameters, or factors by operator on top. */
export type Form = 'scale' | 'parameters' | 'operators';

export interface Fit {
  form: Form;
  factors: ParameterFactors;
  kinds: Record<string, number>;
}

/** Fits as much as the measurements are enough for. */
export function fit(
  samples: readonly Sample[],
  spreads: readonly number[],
  form = formFor(samples.length),
): Fit {
  if (form === 'scale') return { form, factors: fitScale(samples), kinds: {} };
  const factors = fitFactors(samples, spreads);
  return { form, factors, kinds: form === 'operators' ? fitKinds(samples, factors) : {} };
}

/** What so many measurements are enough for. */
export function formFor(rows: number): Form {
  if (rows < ENOUGH_FOR_FACTORS) return 'scale';
  return rows < ENOUGH_FOR_KINDS ? 'parameters' : 'operators';
}

/** How far predictions are from measurements. */
export interface Accuracy {
  /** Mean and median of |predicted / measured - 1|. */
  mape: number;
  median: number;
  /** Rank correlation; null for fewer than three networks. */
  spearman: number | null;
}

export function accuracyOf(predicted: readonly number[], measured: readonly number[]): Accuracy {
  const errors = predicted.map((value, index) => Math.abs(value / measured[index]! - 1));
  return {
    mape: errors.reduce((a, b) => a + b, 0) / errors.length,
    median: median(errors),
    spearman: predicted.length < 3 ? null : spearman(predicted, measured),
  };
}

/** Mean distance of the logarithms: what a calibration has to bring down. */
export const meanLogError = (predicted: readonly number[], measured: readonly number[]): number =>
  predicted.reduce((sum, value, index) => sum + Math.abs(Math.log(value / measured[index]!)), 0) /
  predicted.length;

/**
 * Standard deviation of the logarithms that the distance of left-out networks calls for: of the distances the one that a
 * new network stays below with 90 % (Vovk et al., "Algorithmic Learning in a Random World", 2005, section 2.2: the
 * ⌈0.9 (n + 1)⌉-th smallest), as if it were that of a normal distribution. Too few networks leave the profile's.
 */
export function conformalError(
  predicted: readonly number[],
  measured: readonly number[],
  prior: number,
): number {
  const distances = predicted.map((value, index) => Math.abs(Math.log(value / measured[index]!)));
  const place = Math.ceil(0.9 * (distances.length + 1));
  if (place > distances.length) return Math.max(prior, ...distances.map((distance) => distance / 1.645));
  return distances.sort((a, b) => a - b)[place - 1]! / 1.645;
}

/** Spearman's rank correlation; ties share their mean rank. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [ranks(a), ranks(b)];
  const middle = (a.length - 1) / 2;
  let covariance = 0;
  let [varianceX, varianceY] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const [dx, dy] = [x[i]! - middle, y[i]! - middle];
    covariance += dx * dy;
    varianceX += dx ** 2;
    varianceY += dy ** 2;
  }
  return covariance / Math.sqrt(varianceX * varianceY);
}

function ranks(values: readonly number[]): number[] {
  const order = values.map((value, index) => ({ value, index })).sort((a, b) => a.value - b.value);
  const result = new Array<number>(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && order[end]!.value === order[start]!.value) end++;
    for (let at = start; at < end; at++) result[order[at]!.index] = (start + end - 1) / 2;
    start = end;
  }
  return result;
}
