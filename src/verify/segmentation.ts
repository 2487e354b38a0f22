import type { SegmentationMetric } from '../config/metric.js';
import type { TaskResult } from '../config/verification.js';
import { UserError } from '../errors.js';
import { decisions, type Layout } from './agreement.js';
import { type ClassMap, readClassMap } from './class-map.js';
import { type Outputs, percentage, pickOutput, type Statistic, scoresOf, type TaskScorer } from './task.js';

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

  /**
   * @param layout of the output's scores
   * @param files one file with a class map a sample
   */
  constructor(
    private readonly metric: SegmentationMetric,
    private readonly layout: Layout,
    private readonly files: readonly string[],
  ) {}

  add(sample: number, float: Outputs, quantized: Outputs): void {
    const file = this.files[sample]!;
    const label = readClassMap(file);
    const scored = (outputs: Outputs): Overlap => {
      const { map, classes } = predictedClasses(outputs, this.metric, this.layout);
      return overlap(map, label, { classes, ignore: this.metric.ignore }, file);
    };
    this.float.push(scored(float));
    this.quantized.push(scored(quantized));
  }

  result(): TaskResult | null {
    const samples = this.float.length;
    const scores = scoresOf(
      ['mIoU', 'pixel accuracy'].map(percentage),
      samples,
      segmentationStatistic(this.float),
      segmentationStatistic(this.quantized),
    );
    return scores.length > 0 ? { kind: 'segmentation', against: 'labels', samples, scores } : null;
  }
}

/**
 * The class of each pixel, and how many classes there are: from scores [1, C, H, W] ([1, H, W, C] with layout 'nhwc') or
 * class numbers [1, H, W] or [1, 1, H, W].
 */
export function predictedClasses(
  outputs: Outputs,
  metric: SegmentationMetric,
  layout: Layout,
): { map: ClassMap; classes: number } {
  const output = pickOutput(outputs, metric.output);
  const { shape, data } = output;
  const [height, width] = (layout === 'nchw' || shape.length !== 4 ? shape.slice(-2) : shape.slice(1, 3)) as [
    number,
    number,
  ];
  const single = data.length === height * width && shape.length >= 3;
  if (single && metric.classes !== undefined) {
    return { map: { height, width, classes: data }, classes: metric.classes };
  }
  const channels = shape[layout === 'nchw' ? 1 : 3] ?? 0;
  const classes = metric.classes ?? channels;
  if (!single && shape.length === 4 && shape[0] === 1 && classes > 1 && channels >= classes) {
    return { map: { height, width, classes: decisions(output, layout) }, classes };
  }
  throw new UserError(
    'METRIC_OUTPUT',
    single
      ? `The output [${shape.join(', ')}] holds class numbers: the metric must say how many classes there are.`
      : `Segmentation into ${metric.classes ?? 'some'} classes needs an output ` +
          `[1, ${layout === 'nchw' ? 'C, H, W' : 'H, W, C'}] with at least as many channels, or class numbers ` +
          `[1, H, W]; found [${shape.join(', ')}].`,
    { suggestions: ['Check metric.classes and metric.output in the recipe.'] },
  );
}

/**
 * Compares a prediction with a label map pixel by pixel. A label map of another size is sampled at the nearest pixel.
 * @throws UserError LABEL_RANGE for a label that is neither a class nor ignored
 */
export function overlap(
  prediction: ClassMap,
  label: ClassMap,
  { classes, ignore }: { classes: number; ignore: readonly number[] },
  place: string,
): Overlap {
  const ignored = new Set(ignore);
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

/**
 * Mean over the classes that occur of the intersection over the union of all pictures together, and the share of pixels
 * that are right; both in percent, NaN where no pixel has a label.
 */
export function segmentationStatistic(pictures: readonly Overlap[]): Statistic {
  return (counts) => {
    const classes = pictures[0]?.union.length ?? 0;
    const intersections = new Float64Array(classes);
    const unions = new Float64Array(classes);
    let right = 0;
    let labelled = 0;
    pictures.forEach((picture, sample) => {
      const times = counts[sample]!;
      if (times === 0) return;
      right += times * picture.right;
      labelled += times * picture.labelled;
      for (let c = 0; c < classes; c++) {
        intersections[c]! += times * picture.intersection[c]!;
        unions[c]! += times * picture.union[c]!;
      }
    });
    const present = unions.filter((union) => union > 0).length;
    const sum = unions.reduce((total, union, c) => total + (union > 0 ? intersections[c]! / union : 0), 0);
    return [(100 * sum) / present, (100 * right) / labelled];
  };
}
