import { require, requireLength } from '../arguments.js';
import type { Histogram } from '../types.js';

const MIN_BINS = 8;
const MAX_BINS = 2 ** 20;

/** Largest k with 2ᵏ ≤ x, for normal and subnormal x > 0. */
function exponentOf(x: number): number {
  let k = Math.floor(Math.log2(x));
  while (2 ** k > x) k -= 1;
  while (2 ** (k + 1) <= x) k += 1;
  return k;
}

/** Width and base of the bins for values within [min, max]; a function of these and `bins` alone, see dopt.h. */
export function fitGrid(min: number, max: number, bins: number): { width: number; base: number } {
  const magnitude = Math.max(Math.abs(min), Math.abs(max));
  if (magnitude === 0) return { width: 0, base: 0 };
  // At most 2²³ bins between zero and the farthest value, as in the native core.
  let exponent = Math.max(exponentOf(magnitude) - 22, -126);
  const needed = (max - min) / bins;
  if (needed > 0) exponent = Math.max(exponent, exponentOf(needed));
  for (; ; exponent += 1) {
    const width = 2 ** exponent;
    const base = Math.floor(min / width);
    if (Math.floor(max / width) - base < bins) return { width, base };
  }
}

export function checkHistogram(h: Histogram): void {
  require(Number.isInteger(h.bins) && h.bins >= MIN_BINS && h.bins <= MAX_BINS, () => {
    return `bins is ${h.bins}, expected ${MIN_BINS} to ${MAX_BINS}`;
  });
  requireLength('counts', h.counts, h.bins);
  require(Number.isFinite(h.min) && Number.isFinite(h.max) && h.min <= h.max, () => {
    return `min ${h.min} and max ${h.max} are not a range`;
  });
  require(h.zeros <= h.count, () => 'more zeros than values');
  const grid = h.count === 0 ? { width: 0, base: 0 } : fitGrid(h.min, h.max, h.bins);
  require(grid.width === h.width && grid.base === h.base, () => {
    return `width ${h.width} and base ${h.base} do not belong to min ${h.min}, max ${h.max}, bins ${h.bins}`;
  });
}

export function emptyHistogram(bins: number): Histogram {
  require(Number.isInteger(bins) && bins >= MIN_BINS && bins <= MAX_BINS, () => {
    return `bins is ${bins}, expected ${MIN_BINS} to ${MAX_BINS}`;
  });
  const counters = { count: 0, zeros: 0, nans: 0, infinities: 0, min: 0, max: 0, sum: 0, sumSquares: 0 };
  return { bins, base: 0, width: 0, ...counters, counts: new BigUint64Array(bins) };
}

/** Adds the values of x, in place. */
export function updateHistogram(h: Histogram, x: Float32Array): void {
  checkHistogram(h);
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const v of x) {
    if (Number.isFinite(v)) {
      if (v < min) min = v;
      if (v > max) max = v;
      h.sum += v;
      h.sumSquares += v * v;
    } else if (Number.isNaN(v)) h.nans += 1;
    else h.infinities += 1;
  }
  if (min > max) return;
  widen(h, min, max);
  // Counted in plain numbers: BigInt increments are slow.
  const added = new Float64Array(h.bins);
  for (const v of x) {
    if (!Number.isFinite(v)) continue;
    h.count += 1;
    if (v === 0) h.zeros += 1;
    else added[Math.floor(v / h.width) - h.base]! += 1;
  }
  addCounts(h.counts, added);
}

/** Adds what `from` has seen to `into`, in place. */
export function mergeHistogram(into: Histogram, from: Histogram): void {
  checkHistogram(into);
  checkHistogram(from);
  require(into.bins === from.bins, () => `into has ${into.bins} bins and from ${from.bins}`);
  require(into !== from && into.counts !== from.counts, () => 'a histogram cannot be merged into itself');
  into.nans += from.nans;
  into.infinities += from.infinities;
  if (from.count === 0) return;
  widen(into, from.min, from.max);
  for (const field of ['count', 'zeros', 'sum', 'sumSquares'] as const) into[field] += from[field];
  if (from.width !== 0) addCounts(into.counts, rebinned(from, into));
}

/** Extends the range by [min, max], merging bins where it no longer fits. */
function widen(h: Histogram, min: number, max: number): void {
  const low = h.count === 0 ? min : Math.min(min, h.min);
  const high = h.count === 0 ? max : Math.max(max, h.max);
  const grid = fitGrid(low, high, h.bins);
  if (h.width !== 0 && (grid.width !== h.width || grid.base !== h.base)) {
    const moved = rebinned(h, grid);
    h.counts.fill(0n);
    addCounts(h.counts, moved);
  }
  // + 0 turns -0 into 0.
  Object.assign(h, grid, { min: low + 0, max: high + 0 });
}

function rebinned(from: Histogram, to: { width: number; base: number }): Float64Array {
  const moved = new Float64Array(from.bins);
  const ratio = to.width / from.width;
  from.counts.forEach((count, k) => {
    if (count !== 0n) moved[Math.floor((from.base + k) / ratio) - to.base]! += Number(count);
  });
  return moved;
}

function addCounts(counts: BigUint64Array, added: Float64Array): void {
  added.forEach((count, k) => {
    if (count !== 0) counts[k]! += BigInt(count);
  });
}
