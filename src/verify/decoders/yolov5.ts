import type { ScoredBox } from '../boxes.js';
import { pickOutput } from '../task.js';
import { type BoxDecoder, centred, wrongShape } from './decoder.js';

/**
 * YOLOv5 and YOLOv7 with the detection layer inside (`Detect` of Ultralytics' yolov5, exported to ONNX), output
 * [1, boxes, 5 + classes]: [x, y, width, height] of a box in pixels of the input, objectness and one score a class, all
 * after their sigmoid. Score = objectness · class; a box counts for every class that reaches the threshold, as in that
 * project's own validation (`multi_label`).
 */
export const yolov5: BoxDecoder = {
  nmsIou: 0.6,
  decode(outputs, metric) {
    const { data, shape } = pickOutput(outputs, metric.output);
    const [batch, rows = 0, width = 0] = shape;
    const classes = metric.classes ?? width - 5;
    if (shape.length !== 3 || batch !== 1 || width !== 5 + classes || classes < 1) {
      const wanted = metric.classes === undefined ? '5 + classes' : 5 + classes;
      throw wrongShape(`A YOLOv5 head gives [1, boxes, ${wanted}]`, shape);
    }
    const boxes: ScoredBox[] = [];
    for (let row = 0, at = 0; row < rows; row++, at += width) {
      const objectness = data[at + 4]!;
      if (!(objectness >= metric.scoreThreshold)) continue;
      for (let c = 0; c < classes; c++) {
        const score = objectness * data[at + 5 + c]!;
        if (!(score >= metric.scoreThreshold)) continue;
        const place = centred(data[at]!, data[at + 1]!, data[at + 2]!, data[at + 3]!);
        boxes.push({ class: c, score, ...place });
      }
    }
    return { boxes, classes };
  },
};
