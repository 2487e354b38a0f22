import { type Box, boxIou, type ScoredBox } from './boxes.js';
import type { Figure } from './task.js';

/** IoU thresholds .50, .55, …, .95 of the COCO metric. */
export const IOU_THRESHOLDS = Array.from({ length: 10 }, (_, i) => 0.5 + 0.05 * i);

/** 101 recall levels 0, .01, …, 1, computed as numpy.linspace does. */
const RECALLS = Array.from({ length: 101 }, (_, i) => (i === 100 ? 1 : i * 0.01));

/** One detected box, judged: bit t of `right` is set when it found a true box at threshold t. */
interface Judged {
  score: number;
  sample: number;
  right: number;
}

interface ClassRecord {
  judged: Judged[];
  /** True boxes by sample. */
  truths: { sample: number; count: number }[];
}

/**
 * Average precision as COCO's evaluation computes it (pycocotools, all areas, no crowds, best detections chosen by the
 * caller): pictures go in one after the other; matching is done on entry, so that figures can be taken many times.
 */
export class AveragePrecision {
  private readonly classes = new Map<number, ClassRecord>();

  /** One picture. `detected` is sorted by score, best first. */
  add(sample: number, truths: readonly Box[], detected: readonly ScoredBox[]): void {
    for (const [label, boxes] of groupByClass(truths)) {
      this.record(label).truths.push({ sample, count: boxes.length });
    }
    const truthsOf = groupByClass(truths);
    for (const [label, boxes] of groupByClass(detected)) {
      const found = matchBoxes(truthsOf.get(label) ?? [], boxes);
      boxes.forEach((box, i) => {
        this.record(label).judged.push({ score: box.score, sample, right: found[i]! });
      });
    }
  }

  /**
   * Mean over classes with true boxes and over thresholds, in percent; 0 where there is no true box at all.
   * @param thresholds indices into IOU_THRESHOLDS
   */
  figure(thresholds: readonly number[] = IOU_THRESHOLDS.map((_, i) => i)): Figure {
    // Stable, as pycocotools' mergesort: equal scores stay in the order of the pictures.
    const records = [...this.classes.values()].map(({ judged, truths }) => ({
      truths,
      judged: [...judged].sort((a, b) => b.score - a.score),
    }));
    return (counts) => {
      let sum = 0;
      let terms = 0;
      for (const { judged, truths } of records) {
        const positives = truths.reduce((total, { sample, count }) => total + counts[sample]! * count, 0);
        if (positives === 0) continue;
        for (const t of thresholds) sum += interpolatedPrecision(judged, t, positives, counts);
        terms += thresholds.length;
      }
      return terms > 0 ? (100 * sum) / terms : 0;
    };
  }

  private record(label: number): ClassRecord {
    const found = this.classes.get(label);
    if (found) return found;
    const fresh: ClassRecord = { judged: [], truths: [] };
    this.classes.set(label, fresh);
    return fresh;
  }
}

function groupByClass<B extends Box>(boxes: readonly B[]): Map<number, B[]> {
  const groups = new Map<number, B[]>();
  for (const box of boxes) {
    const group = groups.get(box.class);
    if (group) group.push(box);
    else groups.set(box.class, [box]);
  }
  return groups;
}

/**
 * Gives each detected box, best first, the free true box that it overlaps most, at each threshold.
 * @returns per detected box the thresholds it was right at, as bits
 */
export function matchBoxes(truths: readonly Box[], detected: readonly Box[]): number[] {
  const overlaps = detected.map((box) => truths.map((truth) => boxIou(truth, box)));
  const right = detected.map(() => 0);
  IOU_THRESHOLDS.forEach((threshold, t) => {
    const taken = new Set<number>();
    overlaps.forEach((row, d) => {
      let best = Math.min(threshold, 1 - 1e-10);
      let match = -1;
      row.forEach((iou, g) => {
        if (iou >= best && !taken.has(g)) {
          best = iou;
          match = g;
        }
      });
      if (match < 0) return;
      taken.add(match);
      right[d] = right[d]! | (1 << t);
    });
  });
  return right;
}

/** Mean over the recall levels of the best precision reached at that recall or a higher one. */
function interpolatedPrecision(
  judged: readonly Judged[],
  threshold: number,
  positives: number,
  counts: Uint16Array,
): number {
  const recalls: number[] = [];
  const precisions: number[] = [];
  let right = 0;
  let seen = 0;
  for (const box of judged) {
    const times = counts[box.sample]!;
    if (times === 0) continue;
    seen += times;
    if ((box.right >> threshold) & 1) right += times;
    recalls.push(right / positives);
    precisions.push(right / seen);
  }
  for (let i = precisions.length - 2; i >= 0; i--) {
    precisions[i] = Math.max(precisions[i]!, precisions[i + 1]!);
  }
  let sum = 0;
  let at = 0;
  for (const level of RECALLS) {
    while (at < recalls.length && recalls[at]! < level) at++;
    if (at === recalls.length) break;
    sum += precisions[at]!;
  }
  return sum / RECALLS.length;
}
