import type { ScoredBox } from '../boxes.js';
import { pickOutput } from '../task.js';
import { type BoxDecoder, centred, wrongShape } from './decoder.js';

/**
 * YOLOv8, YOLOv9 and YOLO11 as Ultralytics exports them to ONNX, output [1, 4 + classes, boxes]: [x, y, width, height] of a
 * box in pixels of the input, then one score a class after its sigmoid; there is no objectness. What follows the classes
 * (mask coefficients, key points) is passed over when `metric.classes` says where they end. A box counts for every class
 * that reaches the threshold, as in that project's own validation (`multi_label`).
 */
export const yolov8: BoxDecoder = {
  nmsIou: 0.7,
  decode(outputs, metric) {
    const { data, shape } = pickOutput(outputs, metric.output);
    const [batch, fields = 0, columns = 0] = shape;
    const classes = metric.classes ?? fields - 4;
    if (shape.length !== 3 || batch !== 1 || fields < 4 + classes || classes < 1) {
      const wanted = metric.classes === undefined ? '4 + classes' : 4 + classes;
      throw wrongShape(`A YOLOv8 head gives [1, ${wanted}, boxes]`, shape);
    }
    const at = (field: number, box: number): number => data[field * columns + box]!;
    const boxes: ScoredBox[] = [];
    for (let c = 0; c < classes; c++) {
      for (let box = 0; box < columns; box++) {
        const score = at(4 + c, box);
        if (!(score >= metric.scoreThreshold)) continue;
        boxes.push({ class: c, score, ...centred(at(0, box), at(1, box), at(2, box), at(3, box)) });
      }
    }
    return { boxes, classes };
  },
};
