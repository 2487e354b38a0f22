import { IGNORED_SHIFT, IOU_THRESHOLDS } from './coco-match.js';

/** Recall is also measured with so many boxes of a class in a picture. */
export const RECALL_DETECTIONS = [1, 10] as const;

/** 101 recall levels 0, .01, …, 1, with the rounding of numpy.linspace(0, 1, 101). */
const RECALLS = Array.from({ length: 101 }, (_, i) => (i === 100 ? 1 : i * 0.01));

/** Detections of one class in one area range, best score first; those that never count are left out. */
export interface Judged {
  samples: Uint32Array;
  /** Place among the class's detections in its picture. */
  ranks: Uint32Array;
  /** By threshold: which of the detections are right, and which do not count. */
  thresholds: { right: Uint32Array; ignored: Uint32Array }[];
}

/** @param order detections, best first, as indices into the other columns */
export function judged(
  order: Uint32Array,
  samples: Uint32Array,
  ranks: Uint32Array,
  verdicts: Uint32Array,
): Judged {
  const never = ((1 << IOU_THRESHOLDS.length) - 1) << IGNORED_SHIFT;
  const counted = order.filter((d) => (verdicts[d]! & never) !== never);
  const places = (bit: number): Uint32Array =>
    Uint32Array.from(counted.keys()).filter((place) => (verdicts[counted[place]!]! >> bit) & 1);
  return {
    samples: counted.map((d) => samples[d]!),
    ranks: counted.map((d) => ranks[d]!),
    thresholds: IOU_THRESHOLDS.map((_, t) => ({ right: places(t), ignored: places(IGNORED_SHIFT + t) })),
  };
}

/** How many detections there are up to each one, when sample i counts `counts[i]` times. */
export function seenUpTo({ samples }: Judged, counts: Uint16Array): Float64Array {
  const seen = new Float64Array(samples.length);
  let sum = 0;
  // A plain loop: this runs over every detection for each draw of a bootstrap, and `from` takes ten times as long.
  for (let i = 0; i < samples.length; i++) {
    sum += counts[samples[i]!]!;
    seen[i] = sum;
  }
  return seen;
}

export interface Curve {
  /** Mean over the recall levels of the best precision reached at that recall or a higher one. */
  precision: number;
  /** Recall with the best 1 and 10 boxes a picture, and with all. */
  recalls: number[];
}

/**
 * The curve of precision over recall at one threshold. It has a step at each detection that is right, so only those are
 * looked at: in between precision falls, and its best value at a recall or beyond is that at a step.
 *
 * @param seen of `seenUpTo` for the same counts
 * @param positives true boxes that count, as often as their samples do; above 0
 */
export function curve(
  { samples, ranks, thresholds }: Judged,
  threshold: number,
  seen: Float64Array,
  positives: number,
  counts: Uint16Array,
): Curve {
  const { right, ignored } = thresholds[threshold]!;
  const recalls: number[] = [];
  const precisions: number[] = [];
  const few = RECALL_DETECTIONS.map(() => 0);
  let found = 0;
  let passed = 0;
  let next = 0;
  for (let i = 0; i < right.length; i++) {
    const place = right[i]!;
    const times = counts[samples[place]!]!;
    if (times === 0) continue;
    while (next < ignored.length && ignored[next]! < place) passed += counts[samples[ignored[next++]!]!]!;
    found += times;
    for (let m = 0; m < few.length; m++) if (ranks[place]! < RECALL_DETECTIONS[m]!) few[m]! += times;
    recalls.push(found / positives);
    // pycocotools adds numpy.spacing(1) to the denominator.
    precisions.push(found / (seen[place]! - passed + Number.EPSILON));
  }
  const steps = recalls.length;
  for (let i = steps - 2; i >= 0; i--) {
    if (precisions[i + 1]! > precisions[i]!) precisions[i] = precisions[i + 1]!;
  }
  let sum = 0;
  let at = 0;
  for (const level of RECALLS) {
    while (at < steps && recalls[at]! < level) at++;
    if (at === steps) break;
    sum += precisions[at]!;
  }
  return { precision: sum / RECALLS.length, recalls: [...few, found].map((count) => count / positives) };
}
