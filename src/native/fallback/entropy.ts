import type { IntegerFormat } from '../types.js';
import { type Distribution, quantizerOf, type RangeCost } from './range.js';

const xlogx = (x: number): number => (x > 0 ? x * Math.log(x) : 0);

/**
 * Kullback-Leibler divergence of the quantized from the clipped distribution; the twin of
 * native/src/range_entropy.cc, which explains it.
 */
export function divergence(d: Distribution, format: IntegerFormat): RangeCost {
  const n = d.counts.length;
  const count = new Float64Array(n + 1);
  const entropy = new Float64Array(n + 1);
  const filled = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) {
    const c = d.counts[i]!;
    count[i + 1] = count[i]! + c;
    entropy[i + 1] = entropy[i]! + xlogx(c);
    filled[i + 1] = filled[i]! + (c > 0 ? 1 : 0);
  }
  const centre = (i: number): number => 0.5 * (d.edges[i]! + d.edges[i + 1]!);
  /** First bin whose centre is at or above x. */
  const firstFrom = (x: number): number => {
    let low = 0;
    let high = n;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (centre(middle) < x) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  /** Σ P log P before normalizing, the tails folded onto the outermost bins. */
  const logP = (start: number, end: number, below: number, above: number): number => {
    const first = d.counts[start]!;
    const last = d.counts[end - 1]!;
    if (end - start === 1) return xlogx(first + below + above);
    let sum = entropy[end]! - entropy[start]!;
    sum += xlogx(first + below) - xlogx(first);
    sum += xlogx(last + above) - xlogx(last);
    return sum;
  };

  return (low, high) => {
    if (n === 0) return 0;
    const whole = low <= d.min && high >= d.max;
    const { scale: s, lowest, highest } = quantizerOf(low, high, format);
    const start = whole ? 0 : firstFrom((lowest - 0.5) * s);
    const end = whole ? n : firstFrom((highest + 0.5) * s);
    // Fewer bins than levels: the histogram cannot show what rounding costs.
    if (!whole && end - start < highest - lowest + 1) return Number.POSITIVE_INFINITY;
    if (start >= end) return Number.POSITIVE_INFINITY;
    const below = count[start]!;
    const above = count[n]! - count[end]!;
    const inside = count[end]! - count[start]!;
    if (inside === 0) return Number.POSITIVE_INFINITY;

    let logQ = 0;
    for (let from = start; from < end; ) {
      const k = Math.floor(centre(from) / s + 0.5);
      const to = Math.max(k >= highest ? end : Math.min(end, firstFrom((k + 0.5) * s)), from + 1);
      const mass = count[to]! - count[from]!;
      const takesBelow = from === start && below > 0;
      const takesAbove = to === end && above > 0;
      let bins = filled[to]! - filled[from]!;
      if (takesBelow && d.counts[start] === 0) bins += 1;
      if (takesAbove && d.counts[end - 1] === 0 && !(takesBelow && start === end - 1)) bins += 1;
      const inP = mass + (takesBelow ? below : 0) + (takesAbove ? above : 0);
      if (inP > 0) {
        if (mass === 0) return Number.POSITIVE_INFINITY;
        logQ += inP * Math.log(mass / bins);
      }
      from = to;
    }
    const total = inside + below + above;
    return (logP(start, end, below, above) - logQ) / total - Math.log(total) + Math.log(inside);
  };
}
