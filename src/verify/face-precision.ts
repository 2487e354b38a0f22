import { type Box, boxIou, groupByClass, type ScoredBox, type TruthBox } from './boxes.js';
import { descending, doubles, entry, integers } from './columns.js';
import { type Figure, percentage, type Statistic } from './task.js';

export const FACE_FIGURES: readonly Figure[] = [percentage('face AP')];

const IOU = 0.5;

/** Detections of one class over all pictures, those on ignored faces left out. */
class ClassRecord {
  readonly scores = doubles();
  readonly samples = integers();
  readonly right = integers();
  /** Faces that count, a row a picture. */
  readonly truthSamples = integers();
  readonly truths = integers();
  private order: Uint32Array = new Uint32Array();

  /** Detections, best first. */
  get byScore(): Uint32Array {
    const { values } = this.scores;
    if (this.order.length !== values.length) this.order = descending(values);
    return this.order;
  }
}

/**
 * Average precision at IoU 0.5 as WIDER FACE's evaluation computes it (Yang et al., CVPR 2016; its `evaluation.m` and
 * `VOCap.m`): a detection belongs to the face that it overlaps most, the first one on a face is right and further ones are
 * wrong, those on an ignored face do not count; the area under the whole curve of precision made falling. Boxes are taken
 * as one pixel wider and higher, as there. The original looks at 1,000 levels of the score; here every score is a level.
 * Several classes are averaged.
 */
export class FacePrecision {
  private readonly classes = new Map<number, ClassRecord>();

  /** One picture. `detected` is sorted by score, best first. */
  add(sample: number, truths: readonly TruthBox[], detected: readonly ScoredBox[]): void {
    const found = groupByClass(detected);
    const real = groupByClass(truths);
    for (const label of new Set([...real.keys(), ...found.keys()])) {
      const record = entry(this.classes, label, () => new ClassRecord());
      const own = real.get(label) ?? [];
      record.truthSamples.push(sample);
      record.truths.push(own.filter(({ ignored }) => !ignored).length);
      const taken = new Set<TruthBox>();
      for (const box of found.get(label) ?? []) {
        const face = mostOverlapped(own, box);
        if (face?.ignored) continue;
        const right = face !== null && !taken.has(face);
        if (face) taken.add(face);
        record.scores.push(box.score);
        record.samples.push(sample);
        record.right.push(Number(right));
      }
    }
  }

  /** The figure of FACE_FIGURES in percent; NaN without any face. */
  readonly statistic: Statistic = (counts) => {
    const areas = [...this.classes.values()].flatMap((record) => {
      const truths = record.truths.values;
      const faces = record.truthSamples.values.reduce(
        (sum, sample, i) => sum + counts[sample]! * truths[i]!,
        0,
      );
      return faces > 0 ? [areaUnderCurve(record, faces, counts)] : [];
    });
    return [(100 * areas.reduce((sum, area) => sum + area, 0)) / areas.length];
  };
}

/** The face that a box overlaps most, the first of equal ones; null when not enough. */
function mostOverlapped(truths: readonly TruthBox[], box: ScoredBox): TruthBox | null {
  let best: TruthBox | null = null;
  let most = 0;
  for (const truth of truths) {
    const iou = boxIou(wider(truth), wider(box));
    if (iou <= most) continue;
    best = truth;
    most = iou;
  }
  return most >= IOU ? best : null;
}

/** The box with its last column and row counted as whole pixels. */
const wider = (box: Box): Box => ({ ...box, right: box.right + 1, bottom: box.bottom + 1 });

function areaUnderCurve(record: ClassRecord, faces: number, counts: Uint16Array): number {
  const [scores, samples, right] = [record.scores.values, record.samples.values, record.right.values];
  const order = record.byScore;
  const points: { recall: number; precision: number }[] = [];
  let hits = 0;
  let seen = 0;
  order.forEach((d, i) => {
    const times = counts[samples[d]!]!;
    hits += times * right[d]!;
    seen += times;
    // Boxes of one score enter together: no threshold tells them apart.
    const last = i + 1 === order.length || scores[order[i + 1]!] !== scores[d];
    if (last && seen > 0) points.push({ recall: hits / faces, precision: hits / seen });
  });
  let area = 0;
  let best = 0;
  for (let i = points.length - 1; i >= 0; i--) {
    best = Math.max(best, points[i]!.precision);
    area += (points[i]!.recall - (points[i - 1]?.recall ?? 0)) * best;
  }
  return area;
}
