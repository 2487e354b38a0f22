import { z } from 'zod';

/**
 * How the accuracy of a model is scored against labels. Without labels only the distance between the float and the
 * quantized model is measured; a detection metric then scores the quantized boxes against the float model's.
 */
export const classificationMetricSchema = z.strictObject({
  kind: z.literal('classification'),
  /** Correct when the label is among the k largest scores. */
  topk: z.array(z.number().int().positive()).min(1).default([1, 5]),
  /** Output that holds the scores, [N, C]; the model's first one when absent. */
  output: z.string().optional(),
});

export const segmentationMetricSchema = z.strictObject({
  kind: z.literal('segmentation'),
  /** Labels 0 to classes − 1 are scored. */
  classes: z.number().int().min(2),
  /** Label values of pixels that do not count. */
  ignore: z.array(z.number().int()).default([255]),
  /** Output with scores [N, C, H, W] or class numbers [N, H, W]; the model's first one when absent. */
  output: z.string().optional(),
});

export const detectionMetricSchema = z.strictObject({
  kind: z.literal('detection'),
  /** How boxes come out of the output: 'yolox' is [N, cells, 5 + classes] over a grid per stride. */
  decode: z.literal('yolox').default('yolox'),
  strides: z.array(z.number().int().positive()).min(1).default([8, 16, 32]),
  classes: z.number().int().positive(),
  /** Boxes below this score are dropped before non-maximum suppression. */
  scoreThreshold: z.number().min(0).max(1).default(0.001),
  /** Boxes of one class that overlap a better one by more than this are dropped. */
  nmsIou: z.number().min(0).max(1).default(0.65),
  /** Best boxes kept a picture. */
  maxDetections: z.number().int().positive().default(100),
  /** Float boxes from this score on stand in for labels where there are none. */
  agreementThreshold: z.number().min(0).max(1).default(0.3),
  output: z.string().optional(),
});

export const metricSchema = z.discriminatedUnion('kind', [
  classificationMetricSchema,
  segmentationMetricSchema,
  detectionMetricSchema,
]);

export type ClassificationMetric = z.infer<typeof classificationMetricSchema>;
export type SegmentationMetric = z.infer<typeof segmentationMetricSchema>;
export type DetectionMetric = z.infer<typeof detectionMetricSchema>;
export type Metric = z.infer<typeof metricSchema>;

/** What labels mean where no metric was named. */
export const DEFAULT_METRIC: Metric = { kind: 'classification', topk: [1, 5] };
