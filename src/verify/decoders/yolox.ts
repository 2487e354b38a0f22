import type { DetectionMetric } from '../config/metric.js';
import { UserError } from '../errors.js';
import { type ScoredBox, type Size, suppress } from './boxes.js';
import type { Values } from './tensors.js';

/**
 * Boxes of a YOLOX head (Ge et al., arXiv 2107.08430; `decode_outputs` and `postprocess` of its code): each cell of the
 * grids of all strides, row after row, holds [x, y, log width, log height, objectness, one score a class], with the
 * last two kinds already between 0 and 1. Centre = (x + column, y + row) · stride, size = exp(·) · stride, score =
 * objectness · best class.
 *
 * @param output [1, cells, 5 + classes]
 * @param input height and width of the network's input
 * @returns boxes in pixels of the input, after non-maximum suppression, best first
 * @throws UserError METRIC_OUTPUT when the output does not have that shape
 */
export function decodeYolox(output: Values, metric: DetectionMetric, input: Size): ScoredBox[] {
  const fields = 5 + metric.classes;
  checkShape(output, metric, input, fields);
  const { data } = output;
  const boxes: ScoredBox[] = [];
  let cell = 0;
  for (const stride of metric.strides) {
    const rows = Math.floor(input[0] / stride);
    const columns = Math.floor(input[1] / stride);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, cell++) {
        const at = cell * fields;
        const box = decodeCell(data, at, metric.classes, stride, row, column);
        if (box.score >= metric.scoreThreshold) boxes.push(box);
      }
    }
  }
  return suppress(boxes, metric.nmsIou, metric.maxDetections);
}

function decodeCell(
  data: ArrayLike<number>,
  at: number,
  classes: number,
  stride: number,
  row: number,
  column: number,
): ScoredBox {
  let best = 0;
  for (let c = 1; c < classes; c++) if (data[at + 5 + c]! > data[at + 5 + best]!) best = c;
  const x = (data[at]! + column) * stride;
  const y = (data[at + 1]! + row) * stride;
  const halfWidth = (Math.exp(data[at + 2]!) * stride) / 2;
  const halfHeight = (Math.exp(data[at + 3]!) * stride) / 2;
  return {
    class: best,
    score: data[at + 4]! * data[at + 5 + best]!,
    left: x - halfWidth,
    right: x + halfWidth,
    top: y - halfHeight,
    bottom: y + halfHeight,
  };
}

function checkShape(output: Values, metric: DetectionMetric, input: Size, fields: number): void {
  const cells = metric.strides
    .map((stride) => Math.floor(input[0] / stride) * Math.floor(input[1] / stride))
    .reduce((a, b) => a + b, 0);
  const [batch, found, width] = output.shape;
  if (output.shape.length === 3 && batch === 1 && found === cells && width === fields) return;
  throw new UserError(
    'METRIC_OUTPUT',
    `A YOLOX head with strides ${metric.strides.join(', ')} and ${metric.classes} classes on an input of ` +
      `${input[0]} x ${input[1]} gives [1, ${cells}, ${fields}]; the output is [${output.shape.join(', ')}].`,
    { suggestions: ['Check metric.strides, metric.classes and metric.output in the recipe.'] },
  );
}
