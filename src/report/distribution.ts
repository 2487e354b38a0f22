import type { TensorStatistics } from '../config/statistics.js';
import type { Distribution, HistogramView, Scale } from './types.js';

/** Bins of the histograms that a report draws. */
export const VIEW_BINS = 64;

/**
 * What the report says about the values that calibration saw of one tensor.
 *
 * @param counts of the bins of `statistics.histogram`, exact zeros not among them
 * @param scale steps of the quantizer
 * @param clip smallest and largest value that it represents
 */
export function distribution(
  statistics: TensorStatistics,
  counts: ArrayLike<number | bigint>,
  { channels, smallest, largest }: Scale,
  clip: readonly [number, number],
): Distribution {
  const { count, zeros, min, max, sumSquares } = statistics;
  const outside = { mass: 0, error: 0 };
  // With a step a channel, the mean of the squares of the extreme ones stands for all.
  const step = Math.sqrt((smallest ** 2 + largest ** 2) / 2);
  const reach = [clip[0] - step / 2, clip[1] + step / 2] as const;
  forEachBin(statistics, counts, (low, high, mass) => {
    // Values beyond the last half step: the part of the bin that lies there, at its middle.
    for (const [from, to, end] of [
      [low, Math.min(high, reach[0]), clip[0]],
      [Math.max(low, reach[1]), high, clip[1]],
    ] as const) {
      if (to <= from || high === low) continue;
      const part = (mass * (to - from)) / (high - low);
      outside.mass += part;
      outside.error += part * ((from + to) / 2 - end) ** 2;
    }
  });
  const power = sumSquares || 1;
  return {
    low: min,
    high: max,
    zeros: count > 0 ? zeros / count : 0,
    saturated: channels > 1 ? null : count > 0 ? outside.mass / count : 0,
    histogram: histogramView(statistics, counts),
    // Rounding is uniform over a step: variance step²/12. Exact zeros stay exact.
    rounding: (((count - zeros - outside.mass) * step ** 2) / 12 || 0) / power,
    clipping: outside.error / power,
  };
}

/** The histogram over the range that was seen, in `bins` equal bins; bins that straddle a border are split. */
export function histogramView(
  statistics: TensorStatistics,
  counts: ArrayLike<number | bigint>,
  bins = VIEW_BINS,
): HistogramView {
  const { min: low, max: high } = statistics;
  const view = new Array<number>(bins).fill(0);
  const width = (high - low) / bins;
  if (width > 0) {
    forEachBin(statistics, counts, (from, to, mass) => {
      const first = Math.max(0, Math.floor((from - low) / width));
      const last = Math.min(bins - 1, Math.floor((to - low) / width));
      if (first >= last || to === from) {
        view[Math.min(first, bins - 1)]! += mass;
        return;
      }
      for (let k = first; k <= last; k++) {
        const part = Math.min(to, low + (k + 1) * width) - Math.max(from, low + k * width);
        view[k]! += (mass * Math.max(0, part)) / (to - from);
      }
    });
  }
  return { low, high, counts: view.map(Math.round) };
}

/** Calls back with the borders and the count of each bin that is not empty; borders lie within what was seen. */
function forEachBin(
  { histogram: { base, width, bins }, min, max }: TensorStatistics,
  counts: ArrayLike<number | bigint>,
  visit: (low: number, high: number, mass: number) => void,
): void {
  for (let k = 0; k < bins; k++) {
    const mass = Number(counts[k]);
    if (mass > 0) visit(Math.max(min, (base + k) * width), Math.min(max, (base + k + 1) * width), mass);
  }
}
