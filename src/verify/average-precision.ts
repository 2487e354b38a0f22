import { groupByClass, type ScoredBox, type TruthBox } from './boxes.js';
import { AREA_RANGES, IOU_THRESHOLDS, matchBoxes } from './coco-match.js';
import { descending, doubles, entry, integers } from './columns.js';
import { type Curve, curve, type Judged, judged, RECALL_DETECTIONS, seenUpTo } from './precision-curve.js';
import { type Figure, percentage, type Statistic } from './task.js';

/** Best boxes of a class looked at in a picture. */
export const MOST_DETECTIONS = 100;

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
  private sorted: { length: number; areas: Judged[] } = { length: -1, areas: [] };

  /** Detections by score, for each area range. */
  get areas(): readonly Judged[] {
    const { values: scores } = this.scores;
    if (this.sorted.length !== scores.length) {
      const order = descending(scores);
      const [samples, ranks] = [this.samples.values, this.ranks.values];
      const areas = this.verdicts.map(({ values }) => judged(order, samples, ranks, values));
      this.sorted = { length: scores.length, areas };
    }
    return this.sorted.areas;
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
    const areas = AREA_RANGES.map((_, area) => this.curves(area, counts));
    const [all] = areas as [Curve[][]];
    const sizes = areas.slice(1);
    const recall = (classes: Curve[][], m: number): number =>
      mean(classes.flatMap((curves) => curves.map(({ recalls }) => recalls[m]!)));
    const most = RECALL_DETECTIONS.length;
    return [
      precision(all),
      precision(all.map((curves) => curves.slice(0, 1))),
      precision(all.map((curves) => curves.slice(5, 6))),
      ...sizes.map(precision),
      ...[...RECALL_DETECTIONS.keys(), most].map((m) => recall(all, m)),
      ...sizes.map((classes) => recall(classes, most)),
    ].map((share) => 100 * share);
  };

  /** AP alone. */
  readonly precision: Statistic = (counts) => [100 * precision(this.curves(0, counts))];

  /** Curves by threshold of each class that has true boxes. */
  private curves(area: number, counts: Uint16Array): Curve[][] {
    return [...this.classes.values()].flatMap((record) => {
      const positives = weighted(record, area, counts);
      if (positives === 0) return [];
      const own = record.areas[area]!;
      const seen = seenUpTo(own, counts);
      return [IOU_THRESHOLDS.map((_, t) => curve(own, t, seen, positives, counts))];
    });
  }
}

const precision = (classes: readonly Curve[][]): number =>
  mean(classes.flatMap((curves) => curves.map((one) => one.precision)));

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
  const samples = record.truthSamples.values;
  let sum = 0;
  for (let i = 0; i < samples.length; i++) sum += counts[samples[i]!]! * truths[i]!;
  return sum;
}

/** NaN of an empty list. */
const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
