import type { Distances, Encoding } from './features.js';

/** What fits scores of a search: predicts one of a network that was not tried. */
export interface Predictor {
  predict(features: Float64Array): number;
}

export interface KernelSettings {
  /** Per distance, where the mean over pairs of rows is 1. */
  width: number;
  ridge: number;
}

/** Distance of two rows by their places. */
export type Between = (i: number, j: number) => number;

const betweenRows =
  (rows: readonly Float64Array[], { distance }: Encoding): Between =>
  (i, j) =>
    distance(rows[i]!, rows[j]!);

const WIDTHS = [0.1, 0.3, 1, 3];
const RIDGES = [0.003, 0.03, 0.3];
/** Rows that settings are chosen with; the error of leaving one out says little more with more of them. */
const CHOOSING_ROWS = 160;

/**
 * Ridge regression on the interactions of all genes: in its dual form, with a Gaussian of the distance between genomes as
 * kernel (Saunders et al., "Ridge regression learning algorithm in dual variables", ICML 1998, equation 8).
 *
 * @param rows features of the networks that were tried
 * @param targets their scores; scores far below the others (networks that learned nothing) count as Tukey's lower fence
 * @param between distances of rows, where they are known
 */
export class KernelRidge implements Predictor {
  private readonly mean: number;
  private readonly weights: Float64Array;
  private readonly scale: number;
  private readonly distances: Distances;

  constructor(
    rows: readonly Float64Array[],
    targets: readonly number[],
    encoding: Encoding,
    settings: KernelSettings,
    between: Between = betweenRows(rows, encoding),
  ) {
    this.distances = encoding.from(rows);
    const fenced = fence(targets);
    this.mean = fenced.reduce((a, b) => a + b, 0) / fenced.length;
    this.scale = settings.width / meanDistance(rows.length, between);
    const kernel = kernelMatrix(rows.length, between, this.scale);
    const lower = cholesky(kernel, settings.ridge, rows.length);
    this.weights = solve(
      lower,
      Float64Array.from(fenced, (value) => value - this.mean),
    );
  }

  predict(features: Float64Array): number {
    const distances = this.distances.of(features);
    let sum = this.mean;
    for (let i = 0; i < distances.length; i++)
      sum += this.weights[i]! * Math.exp(-this.scale * distances[i]!);
    return sum;
  }

  /** The settings that predict each row best from all others, in closed form (Golub, Heath, Wahba, 1979, section 1). */
  static choose(
    rows: readonly Float64Array[],
    targets: readonly number[],
    encoding: Encoding,
  ): KernelSettings {
    const some = rows.slice(-CHOOSING_ROWS);
    const fenced = fence(targets.slice(-CHOOSING_ROWS));
    const mean = fenced.reduce((a, b) => a + b, 0) / fenced.length;
    const centred = Float64Array.from(fenced, (value) => value - mean);
    const between = betweenRows(some, encoding);
    const apart = meanDistance(some.length, between);
    let best: KernelSettings = { width: 1, ridge: 0.03 };
    let least = Number.POSITIVE_INFINITY;
    for (const width of WIDTHS) {
      const kernel = kernelMatrix(some.length, between, width / apart);
      for (const ridge of RIDGES) {
        const error = leaveOneOut(kernel, ridge, centred);
        if (error >= least) continue;
        least = error;
        best = { width, ridge };
      }
    }
    return best;
  }
}

/** Values no lower than Tukey's fence, one and a half times the middle half below it. */
function fence(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  const quarter = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))]!;
  const low = quarter(0.25) - 1.5 * (quarter(0.75) - quarter(0.25));
  return values.map((value) => Math.max(value, low));
}

/** Mean distance between neighbouring rows in the list: as good as that of all pairs, for the price of one pass. */
function meanDistance(size: number, between: Between): number {
  let sum = 0;
  for (let i = 1; i < size; i++) sum += between(i, i - 1);
  return sum > 0 ? sum / (size - 1) : 1;
}

/** Lower half of the matrix, row by row. */
function kernelMatrix(size: number, between: Between, scale: number): Float64Array {
  const matrix = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let j = 0; j <= i; j++) matrix[i * size + j] = Math.exp(-scale * between(i, j));
  return matrix;
}

/**
 * Cholesky's lower factor of a kernel matrix with a ridge on its diagonal (Golub, Van Loan, algorithm 4.2.1), column by
 * column, four rows at a time: their sums do not wait for each other.
 */
function cholesky(kernel: Float64Array, ridge: number, size: number): Float64Array {
  const lower = new Float64Array(size * size);
  for (let j = 0; j < size; j++) {
    const own = j * size;
    let square = kernel[own + j]! + ridge;
    for (let k = 0; k < j; k++) square -= lower[own + k]! * lower[own + k]!;
    const diagonal = Math.sqrt(Math.max(square, 1e-12));
    lower[own + j] = diagonal;
    let i = j + 1;
    for (; i + 3 < size; i += 4) {
      const a = i * size;
      const b = a + size;
      const c = b + size;
      const d = c + size;
      let p = kernel[a + j]!;
      let q = kernel[b + j]!;
      let r = kernel[c + j]!;
      let s = kernel[d + j]!;
      for (let k = 0; k < j; k++) {
        const factor = lower[own + k]!;
        p -= lower[a + k]! * factor;
        q -= lower[b + k]! * factor;
        r -= lower[c + k]! * factor;
        s -= lower[d + k]! * factor;
      }
      lower[a + j] = p / diagonal;
      lower[b + j] = q / diagonal;
      lower[c + j] = r / diagonal;
      lower[d + j] = s / diagonal;
    }
    for (; i < size; i++) {
      let sum = kernel[i * size + j]!;
      for (let k = 0; k < j; k++) sum -= lower[i * size + k]! * lower[own + k]!;
      lower[i * size + j] = sum / diagonal;
    }
  }
  return lower;
}

/** Solves L Lᵀ x = b. */
function solve(lower: Float64Array, right: Float64Array): Float64Array {
  const size = right.length;
  const x = Float64Array.from(right);
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < i; k++) x[i]! -= lower[i * size + k]! * x[k]!;
    x[i]! /= lower[i * size + i]!;
  }
  for (let i = size - 1; i >= 0; i--) {
    for (let k = i + 1; k < size; k++) x[i]! -= lower[k * size + i]! * x[k]!;
    x[i]! /= lower[i * size + i]!;
  }
  return x;
}

/** Mean squared error of each row predicted from all others: its weight over its place on the diagonal of the inverse. */
function leaveOneOut(kernel: Float64Array, ridge: number, right: Float64Array): number {
  const size = right.length;
  const lower = cholesky(kernel, ridge, size);
  const weights = solve(lower, right);
  let sum = 0;
  const column = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    // The i-th element of the inverse's diagonal is the squared length of L⁻¹ e_i.
    let length = 0;
    for (let row = i; row < size; row++) {
      let value = row === i ? 1 : 0;
      for (let k = i; k < row; k++) value -= lower[row * size + k]! * column[k]!;
      column[row] = value / lower[row * size + row]!;
      length += column[row]! ** 2;
    }
    sum += (weights[i]! / length) ** 2;
  }
  return sum / size;
}
