import type { Preprocess } from '../config/data.js';
import type { DetectionMetric } from '../config/metric.js';
import type { TaskResult } from '../config/verification.js';
import { AveragePrecision } from './average-precision.js';
import { type Box, placement, type ScoredBox, type Size, toPicture } from './boxes.js';
import { score, type TaskScorer } from './task.js';
import type { Values } from './tensors.js';
import { decodeYolox } from './yolox.js';

/** A box as YOLO label files give it: centre and size as shares of the picture's width and height. */
export interface RelativeBox {
  class: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** What detection needs to know of a sample. */
export interface DetectionSample {
  /** Height and width of the picture. */
  original: Size;
  /** Height and width of the network's input. */
  input: Size;
}

/** Average precision against labels, or of the quantized boxes against the float model's confident ones. */
export class DetectionScorer implements TaskScorer {
  private readonly float = new AveragePrecision();
  private readonly quantized = new AveragePrecision();
  private samples = 0;

  /** @param labels true boxes of each sample, or null */
  constructor(
    private readonly metric: DetectionMetric,
    private readonly preprocess: Preprocess,
    private readonly pictures: readonly DetectionSample[],
    private readonly labels: readonly (readonly RelativeBox[])[] | null,
  ) {}

  add(sample: number, float: Values, quantized: Values): void {
    const picture = this.pictures[sample]!;
    const floatBoxes = this.detect(float, picture);
    const truths = this.labels
      ? this.labels[sample]!.map((box) => absolute(box, picture.original))
      : floatBoxes.filter((box) => box.score >= this.metric.agreementThreshold);
    this.float.add(sample, truths, floatBoxes);
    this.quantized.add(sample, truths, this.detect(quantized, picture));
    this.samples++;
  }

  result(): TaskResult {
    const { samples } = this;
    const labelled = this.labels !== null;
    const figure = (name: string, thresholds?: number[]): TaskResult['scores'][number] =>
      score(
        name,
        samples,
        labelled ? this.float.figure(thresholds) : null,
        this.quantized.figure(thresholds),
      );
    return {
      kind: 'detection',
      against: labelled ? 'labels' : 'float model',
      samples,
      scores: labelled
        ? [figure('AP'), figure('AP50', [0]), figure('AP75', [5])]
        : [figure('agreement AP'), figure('agreement AP50', [0])],
    };
  }

  private detect(output: Values, { original, input }: DetectionSample): ScoredBox[] {
    const back = placement(this.preprocess, original, input);
    return decodeYolox(output, this.metric, input).map((box) => toPicture(box, back, original));
  }
}

/** A label in pixels of the picture. */
export function absolute({ class: label, x, y, width, height }: RelativeBox, [rows, columns]: Size): Box {
  return {
    class: label,
    left: (x - width / 2) * columns,
    right: (x + width / 2) * columns,
    top: (y - height / 2) * rows,
    bottom: (y + height / 2) * rows,
  };
}
