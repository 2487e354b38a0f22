import type { Preprocess } from '../config/data.js';
import type { DetectionMetric } from '../config/metric.js';
import type { Score, TaskResult } from '../config/verification.js';
import { UserError } from '../errors.js';
import { AveragePrecision, COCO_FIGURES, MOST_DETECTIONS } from './average-precision.js';
import {
  boxArea,
  groupByClass,
  type LabelBox,
  placement,
  type ScoredBox,
  type Size,
  suppress,
  type TruthBox,
  toPicture,
  toTruth,
} from './boxes.js';
import { DECODERS } from './decoders/index.js';
import { FACE_FIGURES, FacePrecision } from './face-precision.js';
import { type Outputs, percentage, scoresOf, type TaskScorer } from './task.js';

/** What detection needs to know of a sample. */
export interface DetectionSample {
  name: string;
  /** Height and width of the picture. */
  original: Size;
  /** Height and width of the network's input. */
  input: Size;
}

/** How often the quantized model finds the float model's confident boxes: average precision, .50 to .95, with them as truth. */
const SAME_DECISION = percentage('same decision');

const PROTOCOLS = {
  coco: { figures: COCO_FIGURES, make: () => new AveragePrecision() },
  'wider-face': { figures: FACE_FIGURES, make: () => new FacePrecision() },
} as const;

/** Average precision against labels, and of the quantized boxes against the float model's confident ones. */
export class DetectionScorer implements TaskScorer {
  private readonly float;
  private readonly quantized;
  private readonly agreement = new AveragePrecision();
  private samples = 0;

  /** @param labels true boxes of each sample, or null */
  constructor(
    private readonly metric: DetectionMetric,
    private readonly preprocess: Preprocess,
    private readonly pictures: readonly DetectionSample[],
    private readonly labels: readonly (readonly LabelBox[])[] | null,
  ) {
    this.float = PROTOCOLS[metric.protocol].make();
    this.quantized = PROTOCOLS[metric.protocol].make();
  }

  add(sample: number, float: Outputs, quantized: Outputs): void {
    const picture = this.pictures[sample]!;
    const before = this.detect(float, picture);
    const after = this.detect(quantized, picture);
    // No more than are looked at of the quantized model: a model with more of them would not agree with itself.
    const confident = [...groupByClass(before).values()]
      .flatMap((boxes) => boxes.slice(0, MOST_DETECTIONS))
      .filter(({ score }) => score >= this.metric.agreementThreshold);
    this.agreement.add(
      sample,
      confident.map((box): TruthBox => ({ ...box, area: boxArea(box), ignored: false })),
      after,
    );
    const truths = this.labels?.[sample]?.map((box) => toTruth(box, picture.original));
    if (truths) {
      this.float.add(sample, truths, before);
      this.quantized.add(sample, truths, after);
    }
    this.samples++;
  }

  result(): TaskResult | null {
    const { samples, labels, metric } = this;
    const { figures } = PROTOCOLS[metric.protocol];
    const scores: Score[] = labels
      ? scoresOf(figures, samples, this.float.statistic, this.quantized.statistic)
      : [];
    const against = scores.length > 0 ? 'labels' : 'float model';
    scores.push(...scoresOf([SAME_DECISION], samples, null, this.agreement.precision));
    return scores.length > 0 ? { kind: 'detection', against, samples, scores } : null;
  }

  private detect(outputs: Outputs, { name, original, input }: DetectionSample): ScoredBox[] {
    const { metric } = this;
    const decoder = DECODERS[metric.decode];
    const { boxes, classes } = decoder.decode(outputs, metric, input);
    this.requireClasses(classes, name);
    const back = placement(this.preprocess, original, input);
    return suppress(boxes, metric.nmsIou ?? decoder.nmsIou, metric.maxDetections).map((box) =>
      toPicture(box, back, original),
    );
  }

  /** A label that the model has no class for belongs to another model. */
  private requireClasses(classes: number, name: string): void {
    const wrong = this.labels?.[this.samples]?.find((box) => box.class >= classes);
    if (!wrong) return;
    throw new UserError(
      'LABEL_RANGE',
      `A label of ${name} has class ${wrong.class}, but the model has ${classes}.`,
      {
        expected: `0 to ${classes - 1}`,
        found: String(wrong.class),
        suggestions: ['Check that the labels count from 0 and belong to this model.'],
      },
    );
  }
}
