import type { SegmentationMetric } from '../config/metric.js';
import type { TaskResult } from '../config/verification.js';
import { UserError } from '../errors.js';
import { argmaxOverAxis1 } from './agreement.js';
import { type ClassMap, readClassMap } from './class-map.js';
import { type Figure, score, type TaskScorer } from './task.js';
import type { Values } from './tensors.js';

/** Pixels of one picture by class: where prediction and label meet, and where at least one of them says the class. */
export interface Overlap {
  intersection: Float64Array;
  union: Float64Array;
  /** Labelled pixels in all, and those predicted rightly. */
  labelled: number;
  right: number;
}

/** Mean intersection over union, and pixel accuracy. */
export class SegmentationScorer implements TaskScorer {
  private readonly float: Overlap[] = [];
  private readonly quantized: Overlap[] = [];

  /** @param files one file with a class map a sample */
  constructor(
    private readonly metric: SegmentationMetric,
    private readonly files: readonly string[],
  ) {}

  add(sample: number, float: Values, quantized: Values): void {
    const label = readClassMap(this.files[sample]!);
    this.float.push(overlap(predictedClasses(float, this.metric), label, this.metric, this.files[sample]!));
    this.quantized.push(
      overlap(predictedClasses(quantized, this.metric), label, this.metric, this.files[sample]!),
    );
  }

  result(): TaskResult {
    const samples = this.float.length;
    return {
      kind: 'segmentation',
      against: 'labels',
      samples,
      scores: [
        score('mIoU', samples, meanIou(this.float), meanIou(this.quantized)),
        score('pixel accuracy', samples, pixelAccuracy(this.float), pixelAccuracy(this.quantized)),
      ],
    };
  }
}

/** The class of each pixel from scores [1, C, H, W] or class numbers [1, H, W] or [1, 1, H, W]. */
export function predictedClasses(output: Values, metric: SegmentationMetric): ClassMap {
  const { shape, data } = output;
  const [height, width] = shape.slice(-2) as [number, number];
  const single = data.length === height * width;
  if (single && (shape.length === 3 || shape[1] === 1)) {
    return { height, width, classes: data };
  }
  if (shape.length !== 4 || shape[0] !== 1 || shape[1]! < metric.classes) {
    throw new UserError(
      'METRIC_OUTPUT',
      `Segmentation into ${metric.classes} classes needs an output [1, C, H, W] with at least as many channels, or ` +
        `class numbers [1, H, W]; found [${shape.join(', ')}].`,
      { suggestions: ['Check metric.classes and metric.output in the recipe.'] },
    );
  }
  return { height, width, classes: argmaxOverAxis1(data, shape[1]!, height * width) };
}

/**
 * Compares a prediction with a label map pixel by pixel. A label map of another size is sampled at the nearest pixel.
 * @throws UserError LABEL_RANGE for a label that is neither a class nor ignored
 */
export function overlap(
  prediction: ClassMap,
  label: ClassMap,
  metric: SegmentationMetric,
  place: string,
): Overlap {
  const { classes } = metric;
  const ignored = new Set(metric.ignore);
  const result: Overlap = {
    intersection: new Float64Array(classes),
    union: new Float64Array(classes),
    labelled: 0,
    right: 0,
  };
  for (let y = 0; y < prediction.height; y++) {
    const row = Math.floor(((y + 0.5) * label.height) / prediction.height) * label.width;
    for (let x = 0; x < prediction.width; x++) {
      const truth = label.classes[row + Math.floor(((x + 0.5) * label.width) / prediction.width)]!;
      if (ignored.has(truth)) continue;
      if (truth < 0 || truth >= classes) throw unknownClass(truth, classes, place);
      const guess = prediction.classes[y * prediction.width + x]!;
      result.labelled++;
      result.union[truth]!++;
      if (guess === truth) {
        result.right++;
        result.intersection[truth]!++;
      } else if (guess < classes) {
        result.union[guess]!++;
      }
    }
  }
  return result;
}

function unknownClass(value: number, classes: number, place: string): UserError {
  return new UserError(
    'LABEL_RANGE',
    `${place} has the label ${value}; the metric has classes 0 to ${classes - 1}.`,
    {
      place,
      suggestions: [`If such pixels do not count, add ${value} to metric.ignore in the recipe.`],
    },
  );
}

/** Mean over the classes that occur, in percent, of the intersection over the union of all pictures together. */
export function meanIou(pictures: readonly Overlap[]): Figure {
  return (counts) => {
    const classes = pictures[0]?.union.length ?? 0;
    let sum = 0;
    let present = 0;
    for (let c = 0; c < classes; c++) {
      let intersection = 0;
      let union = 0;
      pictures.forEach((picture, sample) => {
        intersection += counts[sample]! * picture.intersection[c]!;
        union += counts[sample]! * picture.union[c]!;
      });
      if (union === 0) continue;
      sum += intersection / union;
      present++;
    }
    return present > 0 ? (100 * sum) / present : 0;
  };
}

function pixelAccuracy(pictures: readonly Overlap[]): Figure {
  return (counts) => {
    let right = 0;
    let labelled = 0;
    pictures.forEach((picture, sample) => {
      right += counts[sample]! * picture.right;
      labelled += counts[sample]! * picture.labelled;
    });
    return labelled > 0 ? (100 * right) / labelled : 0;
  };
}
