import type { DetectionMetric } from '../../config/metric.js';
import { UserError } from '../../errors.js';
import type { ScoredBox, Size } from '../boxes.js';
import type { Outputs } from '../task.js';

/** What a detector says of one picture. */
export interface Decoded {
  /** In pixels of the network's input, from `metric.scoreThreshold` on, before non-maximum suppression. */
  boxes: ScoredBox[];
  /** How many classes the model tells apart. */
  classes: number;
}

/** Reads boxes out of the outputs of one family of detectors. */
export interface BoxDecoder {
  /** IoU of the family's own non-maximum suppression. */
  nmsIou: number;
  /**
   * @param input height and width of the network's input
   * @throws UserError METRIC_OUTPUT when the outputs have other shapes than the family's
   */
  decode(outputs: Outputs, metric: DetectionMetric, input: Size): Decoded;
}

/** A box given by its centre. */
export const centred = (
  x: number,
  y: number,
  width: number,
  height: number,
): Omit<ScoredBox, 'class' | 'score'> => ({
  left: x - width / 2,
  right: x + width / 2,
  top: y - height / 2,
  bottom: y + height / 2,
});

export function wrongShape(expected: string, shape: readonly number[]): UserError {
  return new UserError('METRIC_OUTPUT', `${expected}; the output is [${shape.join(', ')}].`, {
    suggestions: ['Check metric.decode, metric.classes and metric.output in the recipe.'],
  });
}
