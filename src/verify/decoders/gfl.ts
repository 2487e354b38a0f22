import type { DetectionMetric } from '../../config/metric.js';
import type { ScoredBox, Size } from '../boxes.js';
import { type Outputs, pickOutput } from '../task.js';
import type { Values } from '../tensors.js';
import { type BoxDecoder, wrongShape } from './decoder.js';

const USUAL = { cellOffset: 0, bins: 8 };

/** Scores and distributions of the cells of one stride or of all, row after row. */
interface Part {
  scores: Values;
  /** Where the distributions begin in each row of `sides`. */
  from: number;
  sides: Values;
}

/**
 * Generalized focal loss heads (Li et al., arXiv 2006.04388, section 3.2, equation 8), as NanoDet and PicoDet have them: a
 * side of a box lies at the expected value of a softmax over 0 to bins − 1, times the stride, from a point of its cell. One
 * output [1, cells, classes + 4 · bins], or, stride after stride, scores [1, cells, classes] and then as many distributions
 * [1, cells, 4 · bins]. Scores are after their sigmoid; a box counts for every class that reaches the threshold.
 */
export const gfl: BoxDecoder = {
  nmsIou: 0.6,
  decode(outputs, metric, input) {
    const { cellOffset, bins } = metric.gfl ?? USUAL;
    const grids = metric.strides.map((stride) => grid(input, stride));
    const { parts, classes } = partsOf(outputs, metric, grids, bins, input);
    const boxes: ScoredBox[] = [];
    let [part, row] = [0, 0];
    metric.strides.forEach((stride, level) => {
      const [rows, columns] = grids[level]!;
      for (let cell = 0; cell < rows * columns; cell++, row++) {
        if (row === parts[part]!.scores.shape[1]) [part, row] = [part + 1, 0];
        const { scores, sides, from } = parts[part]!;
        const at = row * scores.shape[2]!;
        for (let c = 0; c < classes; c++) {
          const score = scores.data[at + c]!;
          if (!(score >= metric.scoreThreshold)) continue;
          const [x, y] = [(cell % columns) + cellOffset, Math.floor(cell / columns) + cellOffset];
          const [left, top, right, bottom] = distances(
            sides.data,
            row * sides.shape[2]! + from,
            bins,
          ) as Four;
          const place = { left: x - left, top: y - top, right: x + right, bottom: y + bottom };
          boxes.push({ class: c, score, ...scaled(place, stride) });
        }
      }
    });
    return { boxes, classes };
  },
};

type Four = [number, number, number, number];
type Place = Omit<ScoredBox, 'class' | 'score'>;

const grid = (input: Size, stride: number): Size => [
  Math.ceil(input[0] / stride),
  Math.ceil(input[1] / stride),
];

/** Expected distances of left, top, right and bottom, in strides. */
const distances = (data: ArrayLike<number>, at: number, bins: number): number[] =>
  [0, 1, 2, 3].map((side) => {
    const values = Array.from({ length: bins }, (_, bin) => data[at + side * bins + bin]!);
    const largest = Math.max(...values);
    const weights = values.map((value) => Math.exp(value - largest));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.reduce((total, weight, bin) => total + (bin * weight) / sum, 0);
  });

const scaled = ({ left, top, right, bottom }: Place, by: number): Place => ({
  left: left * by,
  top: top * by,
  right: right * by,
  bottom: bottom * by,
});

/** The one output, or pairs of outputs in the model's order: all scores, then all distributions. */
function partsOf(
  outputs: Outputs,
  metric: DetectionMetric,
  grids: readonly Size[],
  bins: number,
  input: Size,
): { parts: Part[]; classes: number } {
  const cells = grids.map(([rows, columns]) => rows * columns);
  const all = Object.values(outputs);
  const fits = ({ shape }: Values | undefined = NONE, count: number, width: number): boolean =>
    shape.length === 3 && shape[0] === 1 && shape[1] === count && shape[2] === width;
  if (metric.output === undefined && all.length === 2 * cells.length) {
    const classes = metric.classes ?? all[0]!.shape[2] ?? 0;
    const parts = cells.map((_, i) => ({ scores: all[i]!, from: 0, sides: all[i + cells.length]! }));
    const good = parts.every(
      ({ scores, sides }, i) => fits(scores, cells[i]!, classes) && fits(sides, cells[i]!, 4 * bins),
    );
    if (good && classes > 0) return { parts, classes };
    throw wrongShape(
      `${expected(metric, input)} gives scores [1, cells, ${metric.classes ?? 'classes'}] of ${cells.join(', ')} cells and then ` +
        `distributions [1, cells, ${4 * bins}] of as many`,
      all[0]!.shape,
    );
  }
  const output = pickOutput(outputs, metric.output);
  const count = cells.reduce((sum, one) => sum + one, 0);
  const classes = metric.classes ?? (output.shape[2] ?? 0) - 4 * bins;
  if (classes > 0 && fits(output, count, classes + 4 * bins)) {
    return { parts: [{ scores: output, from: classes, sides: output }], classes };
  }
  const width = metric.classes === undefined ? `classes + ${4 * bins}` : classes + 4 * bins;
  throw wrongShape(`${expected(metric, input)} gives [1, ${count}, ${width}]`, output.shape);
}

const NONE: Values = { data: [], shape: [], integer: false };

const expected = ({ strides }: DetectionMetric, input: Size): string =>
  `A head of distributions with strides ${strides.join(', ')} on an input of ${input[0]} x ${input[1]}`;
