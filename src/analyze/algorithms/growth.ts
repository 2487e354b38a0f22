/** Extremes of all values seen in the first so many samples. */
export interface GrowthPoint {
  samples: number;
  low: number;
  high: number;
}

/**
 * How much wider a range, zero included, became over the second half of the samples: 0 when the first half had seen it
 * all. A range that still grows means that more samples would have given another.
 *
 * @param points at 1, 2, 4, … samples and at the end
 */
export function lastDoubling(points: readonly GrowthPoint[]): number {
  const last = points.at(-1);
  const half = points.findLast(({ samples }) => samples <= (last?.samples ?? 0) / 2);
  if (!last || !half) return 0;
  const before = width(half);
  const after = width(last);
  if (after === 0) return 0;
  return before === 0 ? Number.MAX_VALUE : after / before - 1;
}

const width = ({ low, high }: GrowthPoint): number => Math.max(0, high) - Math.min(0, low);
