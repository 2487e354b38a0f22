import type { DetectionMetric } from '../../config/metric.js';
import type { BoxDecoder } from './decoder.js';
import { gfl } from './gfl.js';
import { ssd } from './ssd.js';
import { yolov5 } from './yolov5.js';
import { yolov8 } from './yolov8.js';
import { yolox } from './yolox.js';

/** Every decoder by its name in `metric.decode`. A new family is a file beside this one and a line here. */
export const DECODERS: Readonly<Record<DetectionMetric['decode'], BoxDecoder>> = {
  yolox,
  yolov5,
  yolov8,
  ssd,
  gfl,
};
