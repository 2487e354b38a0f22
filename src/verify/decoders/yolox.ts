import type { DetectionMetric } from '../../config/metric.js';
import type { ScoredBox, Size } from '../boxes.js';
import { pickOutput } from '../task.js';
import type { Values } from '../tensors.js';
import { type BoxDecoder, centred, wrongShape } from './decoder.js';

/**
 * YOLOX (Ge et al., arXiv 2107.08430; `decode_outputs` and `postprocess` of its code), output [1, cells, 5 + classes]: each
 * cell of the grids of all strides, row after row, holds [x, y, log width, log height, objectness, one score a class], with
 * the last two kinds already between 0 and 1. Centre = (x + column, y + row) · stride, size = exp(·) · stride, score =
 * objectness · best class. A cell gives one box, of its best class.
 */
export const yolox: BoxDecoder = {
  nmsIou: 0.65,
  decode(outputs, metric, input) {
    const output = pickOutput(outputs, metric.output);
    const classes = classesOf(output, metric, input);
    const { data } = output;
    const boxes: ScoredBox[] = [];
    let at = 0;
    for (const stride of metric.strides) {
      const [rows, columns] = grid(input, stride);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++, at += 5 + classes) {
          let best = 0;
          for (let c = 1; c < classes; c++) if (data[at + 5 + c]! > data[at + 5 + best]!) best = c;
          const score = data[at + 4]! * data[at + 5 + best]!;
          if (!(score >= metric.scoreThreshold)) continue;
          const [x, y] = [(data[at]! + column) * stride, (data[at + 1]! + row) * stride];
          const [width, height] = [Math.exp(data[at + 2]!) * stride, Math.exp(data[at + 3]!) * stride];
          boxes.push({ class: best, score, ...centred(x, y, width, height) });
        }
      }
    }
    return { boxes, classes };
  },
};

const grid = (input: Size, stride: number): Size => [
  Math.floor(input[0] / stride),
  Math.floor(input[1] / stride),
];

function classesOf({ shape }: Values, metric: DetectionMetric, input: Size): number {
  const cells = metric.strides.map((stride) => grid(input, stride)).reduce((sum, [r, c]) => sum + r * c, 0);
  const [batch, found, width = 0] = shape;
  const classes = metric.classes ?? width - 5;
  const fits = shape.length === 3 && batch === 1 && found === cells && width === 5 + classes && classes > 0;
  if (fits) return classes;
  throw wrongShape(
    `A YOLOX head with strides ${metric.strides.join(', ')} on an input of ${input[0]} x ${input[1]} gives ` +
      `[1, ${cells}, ${metric.classes === undefined ? '5 + classes' : 5 + classes}]`,
    shape,
  );
}
