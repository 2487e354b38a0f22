import type { SsdLayout } from '../../config/metric.js';
import type { ScoredBox, Size } from '../boxes.js';
import { type Outputs, pickOutput } from '../task.js';
import type { Values } from '../tensors.js';
import { type BoxDecoder, centred, wrongShape } from './decoder.js';
import { correctPrior, priorBoxes } from './priors.js';

type Place = Omit<ScoredBox, 'class' | 'score'>;

const LAYOUT: SsdLayout = { order: 'xyxy', unit: 'share', background: true };

/**
 * SSD-like detectors (Liu et al., arXiv 1512.02325): boxes [1, boxes, 4], or corrections of priors, and scores
 * [1, boxes, classes] between 0 and 1. A box counts for every class that reaches the threshold, each class apart.
 */
export const ssd: BoxDecoder = {
  nmsIou: 0.45,
  decode(outputs, metric, input) {
    const layout = metric.ssd ?? LAYOUT;
    const { boxes: places, scores } = outputPair(outputs, layout);
    const [, rows = 0, columns = 0] = scores.shape;
    const first = layout.background ? 1 : 0;
    const classes = columns - first;
    if (classes < 1 || (metric.classes !== undefined && metric.classes !== classes)) {
      const wanted = metric.classes === undefined ? 'classes' : metric.classes + first;
      throw wrongShape(`The scores of an SSD head are [1, ${rows}, ${wanted}]`, scores.shape);
    }
    const placeOf = placesOf(places, layout, input);
    const boxes: ScoredBox[] = [];
    for (let row = 0; row < rows; row++) {
      for (let c = 0; c < classes; c++) {
        const score = scores.data[row * columns + first + c]!;
        if (!(score >= metric.scoreThreshold)) continue;
        boxes.push({ class: c, score, ...placeOf(row) });
      }
    }
    return { boxes, classes };
  },
};

/** The two outputs: named, or told by their shapes, boxes being the one whose last dimension is 4. */
function outputPair(outputs: Outputs, layout: SsdLayout): { boxes: Values; scores: Values } {
  const all = Object.entries(outputs);
  const wide = (values: Values): boolean => values.shape.length === 3 && values.shape[2] === 4;
  const boxName = layout.boxes ?? all.find(([name, v]) => wide(v) && name !== layout.scores)?.[0];
  const boxes = pickOutput(outputs, boxName, 'metric.ssd.boxes');
  const rows = boxes.shape[1];
  const scoreName =
    layout.scores ?? all.find(([, v]) => v !== boxes && v.shape.length === 3 && v.shape[1] === rows)?.[0];
  const scores = pickOutput(outputs, scoreName, 'metric.ssd.scores');
  const fits = wide(boxes) && boxes.shape[0] === 1 && scores.shape[0] === 1 && scores.shape[1] === rows;
  if (fits && scores !== boxes && scores.shape.length === 3) return { boxes, scores };
  throw wrongShape('An SSD head gives boxes [1, boxes, 4] and scores [1, boxes, classes]', boxes.shape);
}

/** Boxes by row, in pixels of the input. */
function placesOf({ data, shape }: Values, layout: SsdLayout, input: Size): (row: number) => Place {
  const { priors, order, unit } = layout;
  const [height, width] = priors || unit === 'share' ? input : [1, 1];
  const scaled = ({ left, right, top, bottom }: Place): Place => ({
    left: left * width,
    right: right * width,
    top: top * height,
    bottom: bottom * height,
  });
  if (!priors) return (row) => scaled(ordered(data, row * 4, order));
  const squares = priorBoxes(priors, input);
  if (squares.length !== data.length) {
    throw wrongShape(
      `metric.ssd.priors make [1, ${squares.length / 4}, 4] of an input of ${input[0]} x ${input[1]}`,
      shape,
    );
  }
  return (row) => scaled(centred(...correctPrior(squares, data, row * 4, priors.variances)));
}

function ordered(data: ArrayLike<number>, at: number, order: SsdLayout['order']): Place {
  const [a, b, c, d] = [data[at]!, data[at + 1]!, data[at + 2]!, data[at + 3]!];
  if (order === 'cxcywh') return centred(a, b, c, d);
  return order === 'xyxy'
    ? { left: a, top: b, right: c, bottom: d }
    : { left: b, top: a, right: d, bottom: c };
}
