import { type Box, boxArea, boxIou, intersection, type TruthBox } from './boxes.js';

/** IoU thresholds .50, .55, …, .95 of the COCO metric, with the rounding of numpy.linspace(.5, .95, 10). */
export const IOU_THRESHOLDS = Array.from({ length: 10 }, (_, i) =>
  i === 9 ? 0.95 : 0.5 + i * ((0.95 - 0.5) / 9),
);

/** Ranges of area in square pixels, both ends included; true boxes outside are ignored. */
export const AREA_RANGES = [
  { name: 'all', low: 0, high: 1e10 },
  { name: 'small', low: 0, high: 32 ** 2 },
  { name: 'medium', low: 32 ** 2, high: 96 ** 2 },
  { name: 'large', low: 96 ** 2, high: 1e10 },
] as const;

/** Bits of a verdict: bit t, the box found a true one at threshold t; bit 10 + t, it does not count there. */
export const IGNORED_SHIFT = IOU_THRESHOLDS.length;

/**
 * Judges the detections of one class in one picture as `COCOeval.evaluateImg` of pycocotools does: best score first, each
 * takes the free true box that it overlaps most; true boxes of a crowd, and those outside the area range, take what is left
 * and make it not count.
 *
 * @param detected best first
 * @returns [detected, area ranges] verdicts, row by row
 */
export function matchBoxes(truths: readonly TruthBox[], detected: readonly Box[]): Uint32Array {
  const verdicts = new Uint32Array(detected.length * AREA_RANGES.length);
  const overlaps = detected.map((box) => truths.map((truth) => overlap(truth, box)));
  AREA_RANGES.forEach((range, r) => {
    const outside = (area: number): boolean => area < range.low || area > range.high;
    const ignored = truths.map((truth) => truth.ignored || outside(truth.area));
    // Stable: those that count first.
    const order = truths.map((_, g) => g).sort((a, b) => Number(ignored[a]) - Number(ignored[b]));
    const areas = detected.map(boxArea);
    IOU_THRESHOLDS.forEach((threshold, t) => {
      const taken = new Set<number>();
      detected.forEach((_, d) => {
        const match = bestMatch(overlaps[d]!, order, threshold, { truths, ignored, taken });
        const skipped = match === null ? outside(areas[d]!) : ignored[match]!;
        const at = d * AREA_RANGES.length + r;
        if (skipped) verdicts[at]! |= 1 << (IGNORED_SHIFT + t);
        else if (match !== null) verdicts[at]! |= 1 << t;
        if (match !== null) taken.add(match);
      });
    });
  });
  return verdicts;
}

interface State {
  truths: readonly TruthBox[];
  ignored: readonly boolean[];
  taken: ReadonlySet<number>;
}

/** The true box that a detection takes; null when none overlaps enough. */
function bestMatch(
  overlaps: readonly number[],
  order: readonly number[],
  threshold: number,
  { truths, ignored, taken }: State,
): number | null {
  let best = Math.min(threshold, 1 - 1e-10);
  let match: number | null = null;
  for (const g of order) {
    if (taken.has(g) && !truths[g]!.ignored) continue;
    // One that counts was found; those from here on do not.
    if (match !== null && !ignored[match] && ignored[g]) break;
    if (overlaps[g]! < best) continue;
    best = overlaps[g]!;
    match = g;
  }
  return match;
}

/** IoU; for a crowd, whose box covers many objects, the share of the detection that lies in it. */
function overlap(truth: TruthBox, box: Box): number {
  if (!truth.ignored) return boxIou(truth, box);
  const shared = intersection(truth, box);
  return shared > 0 ? shared / boxArea(box) : 0;
}
