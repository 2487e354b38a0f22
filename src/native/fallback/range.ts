import { require } from '../arguments.js';
import type { Clip, FittedClip, Histogram, IntegerFormat } from '../types.js';
import { checkHistogram } from './histogram.js';
import { clamp, roundHalfEven } from './rounding.js';

const FLT_MIN = 2 ** -126;
const FLT_MAX = (2 - 2 ** -23) * 2 ** 127;

/** real = scale·k for integers k in [lowest, highest], both relative to the zero point. */
export interface Quantizer {
  scale: number;
  zeroPoint: number;
  lowest: number;
  highest: number;
}

export function checkFormat({ bits, signed, symmetric }: IntegerFormat): void {
  require(Number.isInteger(bits) && bits >= 2 && bits <= 16, () => `bits is ${bits}, expected 2 to 16`);
  require(!symmetric || signed, () => 'a symmetric format is signed');
}

export function checkRange(low: number, high: number): void {
  require(Math.abs(low) <= FLT_MAX && Math.abs(high) <= FLT_MAX && low <= high, () => {
    return `low ${low} and high ${high} are not a range of finite floats`;
  });
}

/** The quantizer of a range extended to hold zero; see dopt_quant_params. */
export function quantizerOf(low: number, high: number, format: IntegerFormat): Quantizer {
  const from = Math.min(low, 0);
  const to = Math.max(high, 0);
  const levels = 2 ** format.bits - 1;
  const half = (levels - 1) / 2;
  const qmin = format.signed ? -half - 1 : 0;
  const span = format.symmetric ? Math.max(-from, to) : to - from;
  if (span === 0) {
    const lowest = format.symmetric ? -half : qmin;
    return { scale: 1, zeroPoint: 0, lowest, highest: qmin + levels };
  }
  const scale = Math.max(Math.fround(span / (format.symmetric ? half : levels)), FLT_MIN);
  if (format.symmetric) return { scale, zeroPoint: 0, lowest: -half, highest: half };
  // + 0: an integer has no -0.
  const zeroPoint = roundHalfEven(clamp(qmin - from / scale, qmin, qmin + levels)) + 0;
  return { scale, zeroPoint, lowest: qmin - zeroPoint, highest: qmin + levels - zeroPoint };
}

/** The values of a histogram other than zero: counts[i] of them spread evenly over [edges[i], edges[i + 1]). */
export interface Distribution {
  edges: Float64Array;
  counts: Float64Array;
  /** Values in all, exact zeros included. */
  total: number;
  min: number;
  max: number;
}

export function distributionOf(h: Histogram): Distribution {
  checkHistogram(h);
  let first = 0;
  let last = h.bins;
  while (first < last && h.counts[first] === 0n) first += 1;
  while (last > first && h.counts[last - 1] === 0n) last -= 1;
  const counts = Float64Array.from(h.counts.subarray(first, last), Number);
  const edges = Float64Array.from({ length: counts.length + 1 }, (_, i) =>
    clamp((h.base + first + i) * h.width, h.min, h.max),
  );
  return { edges, counts, total: h.count, min: h.min, max: h.max };
}

/** Cost of clipping to [low, high]; infinity refuses a range. */
export type RangeCost = (low: number, high: number) => number;

/** The constants of native/src/range.cc: both backends try the same ranges. */
const STEP = 0.9576032806985737; // 2^(-1/16)
const CANDIDATES = 128;
const COARSE_STEP = 0.8408964152537145; // 2^(-1/4)
const COARSE = 20;
const ROUNDS = 4;
const FINER = 8;

/** The cheapest range within the extremes; see search_range in native/src/range.h. */
export function searchRange(min: number, max: number, symmetric: boolean, cost: RangeCost): FittedClip {
  const reach = Math.max(-min, max, 0);
  const lowest = symmetric ? -reach : Math.min(min, 0);
  const highest = symmetric ? reach : Math.max(max, 0);
  let best: FittedClip = { low: lowest, high: highest, error: cost(lowest, highest) };
  if (lowest === highest) return { low: 0, high: 0, error: best.error };

  const attempt = (low: number, high: number): void => {
    const error = cost(low, high);
    if (error < best.error) best = { low, high, error };
  };
  /** Each end in turn until neither gains. */
  const sweepEnds = (): void => {
    for (let round = 0; round < ROUNDS; round++) {
      const before = best.error;
      const { low } = best;
      let ratio = 1;
      for (let j = 0; j < CANDIDATES; j++, ratio *= STEP) attempt(low, highest * ratio);
      attempt(low, 0);
      const { high } = best;
      ratio = 1;
      for (let j = 0; j < CANDIDATES; j++, ratio *= STEP) attempt(lowest * ratio, high);
      attempt(0, high);
      if (!(best.error < before)) break;
    }
  };
  let ratio = STEP;
  for (let j = 1; j < CANDIDATES; j++, ratio *= STEP) attempt(lowest * ratio, highest * ratio);

  if (!symmetric && lowest < 0 && highest > 0) {
    let low = lowest;
    for (let i = 0; i <= COARSE; i++, low *= COARSE_STEP) {
      let high = highest;
      for (let j = 0; j <= COARSE; j++, high *= COARSE_STEP)
        attempt(i < COARSE ? low : 0, j < COARSE ? high : 0);
    }
    sweepEnds();
  }

  let step = 1 / STEP - 1;
  for (let pass = 0; pass < 2; pass++, step /= FINER) {
    const fine = step / FINER;
    const { low, high } = best;
    for (let i = -FINER; i <= FINER; i++) {
      const end = Math.min(high * (1 + i * fine), highest);
      attempt(symmetric ? -end : best.low, end);
    }
    for (let i = -FINER; i <= FINER && !symmetric; i++) {
      attempt(Math.max(low * (1 + i * fine), lowest), best.high);
    }
  }
  // + 0 turns -0 into 0.
  return { low: best.low + 0, high: best.high + 0, error: best.error };
}

/** The quantiles (1 − fraction) / 2 from both sides, extended to hold zero. */
export function percentileRange(h: Histogram, fraction: number): Clip {
  require(fraction > 0 && fraction <= 1, () => `fraction is ${fraction}, expected above 0 and at most 1`);
  const d = distributionOf(h);
  const cut = ((1 - fraction) / 2) * d.total;
  const all = fraction === 1 || d.counts.length === 0;
  return {
    low: Math.min(0, all ? d.min : quantile(d, h.zeros, cut)) + 0,
    high: Math.max(0, all ? d.max : quantile(d, h.zeros, d.total - cut)) + 0,
  };
}

/** Value below which `target` values lie, zeros at 0. */
function quantile(d: Distribution, zeros: number, target: number): number {
  let seen = 0;
  let pastZero = false;
  for (let i = 0; i < d.counts.length; i++) {
    const count = d.counts[i]!;
    const edge = d.edges[i]!;
    if (!pastZero && edge >= 0) {
      pastZero = true;
      seen += zeros;
      if (seen >= target) return 0;
    }
    if (seen + count >= target && count > 0) {
      const share = Math.max(0, (target - seen) / count);
      return edge + share * (d.edges[i + 1]! - edge);
    }
    seen += count;
  }
  return pastZero ? d.max : 0;
}

/**
 * Expected squared error of a range over a distribution, in closed form: with k = round(x / s) kept in the grid and
 * r = x − k·s, the integral of (t − Q(t))² for t from 0 to x is k·s³ / 12 + r³ / 3.
 */
export function squaredError(d: Distribution, format: IntegerFormat): RangeCost {
  return (low, high) => {
    if (d.counts.length === 0) return 0;
    const { scale: s, lowest, highest } = quantizerOf(low, high, format);
    const perStep = (s * s * s) / 12;
    const level = (x: number): number => roundHalfEven(clamp(x / s, lowest, highest));
    let sum = 0;
    let k = level(d.edges[0]!);
    let r = d.edges[0]! - k * s;
    for (let i = 0; i < d.counts.length; i++) {
      const edge = d.edges[i + 1]!;
      const nextK = level(edge);
      const nextR = edge - nextK * s;
      const mean =
        k === nextK
          ? (r * r + r * nextR + nextR * nextR) / 3
          : ((nextK - k) * perStep + (nextR * nextR * nextR - r * r * r) / 3) / (edge - d.edges[i]!);
      sum += d.counts[i]! * mean;
      k = nextK;
      r = nextR;
    }
    return sum / d.total;
  };
}
