import { hypervolume } from './algorithms/hypervolume.js';
import type { Tried } from './evaluation.js';

/** Networks with a score that keep all limits. */
export const scoredOf = (tried: readonly Tried[]): Tried[] =>
  tried.filter(({ score, violation }) => score !== null && violation === 0);

/** Places on a curve at the most. */
const PLACES = 40;

/**
 * The share of the volume between the worst score and the highest cost of all networks that was reached after some of them;
 * 1 would be one network that is best in both.
 */
export function volumes(tried: readonly Tried[]): { tried: number; volume: number }[] {
  const points = pointsOf(tried);
  const step = Math.max(1, Math.ceil(tried.length / PLACES));
  const places = Array.from({ length: points.length > 0 ? Math.ceil(tried.length / step) : 0 }, (_, at) =>
    Math.min(tried.length, (at + 1) * step),
  );
  return places.map((count) => ({ tried: count, volume: hypervolume(points.slice(0, count), [1, 1]) }));
}

/** The same after all of them; 0 for fewer than two. */
export const volumeOf = (tried: readonly Tried[]): number => hypervolume(pointsOf(tried), [1, 1]);

/** Each network between the best (0, 0) and the worst (1, 1) of both objectives; none for fewer than two. */
function pointsOf(tried: readonly Tried[]): number[][] {
  const scored = scoredOf(tried);
  if (scored.length < 2) return [];
  const ends = [0, 1].map((at) => {
    let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const { objectives } of scored) {
      min = Math.min(min, objectives[at]!);
      max = Math.max(max, objectives[at]!);
    }
    return { min, range: max - min || 1 };
  });
  return tried.map((one) =>
    one.score === null || one.violation > 0
      ? [1, 1]
      : ends.map(({ min, range }, at) => (one.objectives[at]! - min) / range),
  );
}
