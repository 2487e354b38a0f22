import { NO_FACTORS, PARAMETERS } from '../device.js';
import {
  type Features,
  fromLogarithms,
  logarithms,
  type ParameterFactors,
  secondsByOperator,
  secondsWith,
} from './features.js';
import { solveSymmetric } from './linear.js';

/** A network with the seconds that it took. */
export interface Sample {
  features: Features;
  seconds: number;
}

/** Standard deviation of the logarithm of a measurement over a perfect prediction, before it is known; and the least of it. */
const NOISE = 0.12;
const LEAST_NOISE = 0.02;
/** Residuals beyond so many standard deviations lose weight. */
const CAUCHY = 2;
const ROUNDS = 25;

/** Logarithm of measured over predicted. */
export const logRatio = ({ features, seconds }: Sample, factors: ParameterFactors, kinds = {}): number =>
  Math.log(seconds / secondsWith(features, factors, kinds));

/** One factor on all times: the median of what measurements call for. Rates fall by as much as times rise. */
export function fitScale(samples: readonly Sample[]): ParameterFactors {
  const scale = Math.exp(median(samples.map((sample) => logRatio(sample, NO_FACTORS))));
  return {
    matrix: 1 / scale,
    vector: 1 / scale,
    memory: 1 / scale,
    layer: scale,
    operator: scale,
    run: scale,
  };
}

/**
 * The six factors that explain measurements best, kept near the profile as the overall scale has it.
 *
 * Minimizes Σ ρ(log(measured / predicted) / noise) + Σ (log(factor / scale) / spread)² over the logarithms, with
 * Cauchy's ρ(r) = c² log(1 + (r / c)²), so that a network that the model does not fit loses its say. Solved by
 * iteratively reweighted least squares (Holland, Welsch, "Robust regression using iteratively reweighted least-squares",
 * 1977) with a Levenberg-Marquardt step: six by six, derivatives by differences.
 * @param spreads standard deviations of the logarithms of the factors, by how sure the profile's values are
 */
export function fitFactors(samples: readonly Sample[], spreads: readonly number[]): ParameterFactors {
  const prior: Prior = { centre: logarithms(fitScale(samples)), spreads };
  const first = descend(samples, prior, prior.centre, NOISE);
  return fromLogarithms(descend(samples, prior, first, noiseOf(samples, fromLogarithms(first))));
}

/**
 * Noise that measurements turn out to have: 1.4826 times the median distance, which a few that the model does not fit
 * leave as it is (Huber, "Robust Statistics", 1981, section 5.1).
 */
function noiseOf(samples: readonly Sample[], factors: ParameterFactors): number {
  const distance = median(samples.map((sample) => Math.abs(logRatio(sample, factors))));
  return Math.min(NOISE, Math.max(LEAST_NOISE, 1.4826 * distance));
}

/** The point with the least of the objective below a start. */
function descend(
  samples: readonly Sample[],
  prior: Prior,
  start: readonly number[],
  noise: number,
): readonly number[] {
  let point = start;
  let best = objective(samples, point, prior, noise);
  let damping = 1e-2;
  for (let round = 0; round < ROUNDS; round++) {
    const step = newtonStep(samples, point, prior, damping, noise);
    const next = point.map((value, index) => value + step[index]!);
    const value = objective(samples, next, prior, noise);
    if (value < best) {
      const gain = best - value;
      [point, best] = [next, value];
      damping = Math.max(1e-6, damping / 4);
      if (gain < 1e-9 * (1 + best)) break;
    } else {
      damping *= 8;
      if (damping > 1e8) break;
    }
  }
  return point;
}

/** Where the logarithms of the factors are expected, and how far from there. */
interface Prior {
  centre: readonly number[];
  spreads: readonly number[];
}

/** How far a logarithm is from where it is expected, in standard deviations. */
const surprise = ({ centre, spreads }: Prior, value: number, index: number): number =>
  (value - centre[index]!) / spreads[index]!;

function objective(
  samples: readonly Sample[],
  point: readonly number[],
  prior: Prior,
  noise: number,
): number {
  const factors = fromLogarithms(point);
  const errors = samples.reduce((sum, sample) => {
    const residual = logRatio(sample, factors) / noise;
    return sum + CAUCHY ** 2 * Math.log1p((residual / CAUCHY) ** 2);
  }, 0);
  return errors + point.reduce((sum, value, index) => sum + surprise(prior, value, index) ** 2, 0);
}

/** The damped step that the reweighted least squares take from a point. */
function newtonStep(
  samples: readonly Sample[],
  point: readonly number[],
  prior: Prior,
  damping: number,
  noise: number,
): number[] {
  const size = PARAMETERS.length;
  const matrix = Array.from({ length: size }, () => new Array<number>(size).fill(0));
  const right = point.map((value, index) => -surprise(prior, value, index) / prior.spreads[index]!);
  for (let i = 0; i < size; i++) matrix[i]![i] = 1 / prior.spreads[i]! ** 2;
  const here = fromLogarithms(point);
  const shifted = point.map((_, index) =>
    fromLogarithms(point.map((value, other) => (other === index ? value + 1e-5 : value))),
  );
  for (const sample of samples) {
    const residual = logRatio(sample, here);
    const weight = 1 / (noise ** 2 * (1 + (residual / noise / CAUCHY) ** 2));
    // Derivative of the logarithm of the prediction.
    const slope = shifted.map((factors) => (residual - logRatio(sample, factors)) / 1e-5);
    for (let i = 0; i < size; i++) {
      right[i]! += weight * slope[i]! * residual;
      for (let j = 0; j < size; j++) matrix[i]![j]! += weight * slope[i]! * slope[j]!;
    }
  }
  for (let i = 0; i < size; i++) matrix[i]![i]! *= 1 + damping;
  return solveSymmetric(matrix, right);
}

/** Standard deviation that the logarithm of a factor on the kernels of one operator is given beforehand. */
const KIND_SPREAD = 0.3;

/**
 * Factors on the kernels of each operator that explain what the six factors leave: ridge regression of the remaining
 * logarithms on the shares of time by operator, repeated because the shares change with the factors.
 */
export function fitKinds(samples: readonly Sample[], factors: ParameterFactors): Record<string, number> {
  const operators = [
    ...new Set(samples.flatMap(({ features }) => features.kernels.map(({ op }) => op))),
  ].sort();
  let kinds: Record<string, number> = {};
  for (let round = 0; round < 5; round++) {
    const rows = samples.map((sample) => {
      const times = secondsByOperator(sample.features, factors, kinds);
      const total = [...times.values()].reduce((a, b) => a + b, 0);
      return {
        shares: operators.map((op) => (times.get(op) ?? 0) / total),
        residual: logRatio(sample, factors, kinds),
      };
    });
    const size = operators.length;
    const matrix = Array.from({ length: size }, () => new Array<number>(size).fill(0));
    const right = operators.map((op) => -Math.log(kinds[op] ?? 1) / KIND_SPREAD ** 2);
    for (let i = 0; i < size; i++) matrix[i]![i] = 1 / KIND_SPREAD ** 2;
    for (const { shares, residual } of rows) {
      const weight = 1 / (NOISE ** 2 * (1 + (residual / NOISE / CAUCHY) ** 2));
      for (let i = 0; i < size; i++) {
        right[i]! += weight * shares[i]! * residual;
        for (let j = 0; j < size; j++) matrix[i]![j]! += weight * shares[i]! * shares[j]!;
      }
    }
    const step = solveSymmetric(matrix, right);
    kinds = Object.fromEntries(operators.map((op, i) => [op, (kinds[op] ?? 1) * Math.exp(step[i]!)]));
  }
  return kinds;
}

/** The middle value; the mean of the two middle ones of an even number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1
    ? sorted[Math.floor(middle)]!
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}
