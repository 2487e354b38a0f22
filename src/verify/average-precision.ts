import { groupByClass, type ScoredBox, type TruthBox } from './boxes.js';
import { AREA_RANGES, IGNORED_SHIFT, IOU_THRESHOLDS, matchBoxes } from './coco-match.js';
import { doubles, entry, integers } from './columns.js';
import { type Figure, percentage, type Statistic } from './task.js';

/** Best boxes of a class looked at in a picture; recall is also measured with fewer. */
const MOST_DETECTIONS = 100;
const RECALL_DETECTIONS = [1, 10] as const;

/** 101 recall levels 0, .01, …, 1, with the rounding of numpy.linspace(0, 1, 101). */
const RECALLS = Float64Array.from({ length: 101 }, (_, i) => (i === 100 ? 1 : i * 0.01));

/** What COCO's evaluation prints, in its order. */
export const COCO_FIGURES: readonly Figure[] = [
  ...['AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large'],
  ...['AR@1', 'AR@10', 'AR@100', 'AR small', 'AR medium', 'AR large'],
].map(percentage);

/** Detections and true boxes of one class over all pictures. */
class ClassRecord {
  readonly scores = doubles();
  readonly samples = integers();
  /** Place among the class's detections in its picture. */
  readonly ranks = integers();
  /** One verdict an area range. */
  readonly verdicts = AREA_RANGES.map(integers);
  /** True boxes that count in each area range, a row a picture that has any. */
  readonly truthSamples = integers();
  readonly truths = AREA_RANGES.map(integers);
  private order = new Uint32Array();
  /** Room for a curve, filled anew for each. */
  private points = { recalls: new Float64Array(), precisions: new Float64Array() };

  /** Detections by score, best first; equal ones stay in the order of the pictures, as with numpy's mergesort. */
  get byScore(): Uint32Array {
    const scores = this.scores.values;
    if (this.order.length !== scores.length) {
      this.order = Uint32Array.from(scores, (_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b);
    }
    return this.order;
  }

  get room(): { recalls: Float64Array; precisions: Float64Array } {
    const { length } = this.scores.values;
    if (this.points.recalls.length < length) {
      this.points = { recalls: new Float64Array(length), precisions: new Float64Array(length) };
    }
    return this.points;
  }
}

/**
 * Average precision and recall as pycocotools computes them (`COCOeval`, boxes). Pictures go in one after the other and
 * are matched on entry, so that figures can be taken many times.
 */
export class AveragePrecision {
  private readonly classes = new Map<number, ClassRecord>();

  /** One picture. `detected` is sorted by score, best first. */
  add(sample: number, truths: readonly TruthBox[], detected: readonly ScoredBox[]): void {
    const found = groupByClass(detected);
    const real = groupByClass(truths);
    for (const label of new Set([...real.keys(), ...found.keys()])) {
      const record = entry(this.classes, label, () => new ClassRecord());
      const boxes = (found.get(label) ?? []).slice(0, MOST_DETECTIONS);
      const own = real.get(label) ?? [];
      addTruths(record, sample, own);
      const verdicts = matchBoxes(own, boxes);
      boxes.forEach(({ score }, d) => {
        record.scores.push(score);
        record.samples.push(sample);
        record.ranks.push(d);
        record.verdicts.forEach((column, r) => {
          column.push(verdicts[d * AREA_RANGES.length + r]!);
        });
      });
    }
  }

  /** The figures of COCO_FIGURES in percent; NaN where no true box of that size is there. */
  readonly statistic: Statistic = (counts) => {
    const areas = AREA_RANGES.map((_, area) => this.inArea(area, counts));
    const [all] = areas as [Summary];
    const sizes = areas.slice(1);
    return [
      mean(all.precision.flat()),
      mean(all.precision.map((row) => row[0]!)),
      mean(all.precision.map((row) => row[5]!)),
      ...sizes.map(({ precision }) => mean(precision.flat())),
      ...RECALL_DETECTIONS.map((_, m) => mean(all.recall.flatMap((row) => row[m]!))),
      mean(all.recall.flatMap((row) => row.at(-1)!)),
      ...sizes.map(({ recall }) => mean(recall.flatMap((row) => row.at(-1)!))),
    ].map((share) => 100 * share);
  };

  /** AP alone. */
  readonly precision: Statistic = (counts) => [100 * mean(this.inArea(0, counts).precision.flat())];

  private inArea(area: number, counts: Uint16Array): Summary {
    const summary: Summary = { precision: [], recall: [] };
    for (const record of this.classes.values()) {
      const positives = weighted(record, area, counts);
      if (positives === 0) continue;
      const curves = IOU_THRESHOLDS.map((_, t) => curve(record, area, t, positives, counts));
      summary.precision.push(curves.map(({ precision }) => precision));
      const limits = [...RECALL_DETECTIONS.keys(), RECALL_DETECTIONS.length];
      summary.recall.push(limits.map((m) => curves.map(({ recalls }) => recalls[m]!)));
    }
    return summary;
  }
}

/** By class with true boxes: average precision by threshold; final recall by number of detections and threshold. */
interface Summary {
  precision: number[][];
  recall: number[][][];
}

function addTruths(record: ClassRecord, sample: number, truths: readonly TruthBox[]): void {
  if (truths.length === 0) return;
  record.truthSamples.push(sample);
  record.truths.forEach((column, r) => {
    const { low, high } = AREA_RANGES[r]!;
    column.push(truths.filter(({ ignored, area }) => !ignored && area >= low && area <= high).length);
  });
}

function weighted(record: ClassRecord, area: number, counts: Uint16Array): number {
  const truths = record.truths[area]!.values;
  return record.truthSamples.values.reduce((sum, sample, i) => sum + counts[sample]! * truths[i]!, 0);
}

/**
 * Mean over the recall levels of the best precision reached at that recall or a higher one, and the recalls reached with
 * the best 1, 10 and 100 boxes a picture.
 */
function curve(
  record: ClassRecord,
  area: number,
  threshold: number,
  positives: number,
  counts: Uint16Array,
): { precision: number; recalls: number[] } {
  const verdicts = record.verdicts[area]!.values;
  const samples = record.samples.values;
  const ranks = record.ranks.values;
  const order = record.byScore;
  const { recalls, precisions } = record.room;
  const few = RECALL_DETECTIONS.map(() => 0);
  let right = 0;
  let wrong = 0;
  let points = 0;
  for (const d of order) {
    const times = counts[samples[d]!]!;
    const verdict = verdicts[d]! >> threshold;
    if (times === 0 || (verdict >> IGNORED_SHIFT) & 1) continue;
    if (verdict & 1) {
      right += times;
      for (let m = 0; m < few.length; m++) if (ranks[d]! < RECALL_DETECTIONS[m]!) few[m]! += times;
    } else {
      wrong += times;
    }
    recalls[points] = right / positives;
    // pycocotools adds numpy.spacing(1) to the denominator.
    precisions[points++] = right / (wrong + right + Number.EPSILON);
  }
  for (let i = points - 2; i >= 0; i--) {
    if (precisions[i + 1]! > precisions[i]!) precisions[i] = precisions[i + 1]!;
  }
  let sum = 0;
  let at = 0;
  for (const level of RECALLS) {
    while (at < points && recalls[at]! < level) at++;
    if (at === points) break;
    sum += precisions[at]!;
  }
  return {
    precision: sum / RECALLS.length,
    recalls: [...few, right].map((found) => found / positives),
  };
}

/** NaN of an empty list. */
const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
