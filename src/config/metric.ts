import { z } from 'zod';

/**
 * How the accuracy of a model is scored against labels. Without labels only the distance between the float and the
 * quantized model is measured, and how often both decide alike: a detection metric then holds the quantized boxes against
 * the float model's. docs/metrics.md says what each one is and which labels it takes.
 */

const judge = z
  .string()
  .min(1)
  .optional()
  .describe('score to judge by, as it is called in results (`top-5`, `AP50`); the first one when absent');

const output = z
  .string()
  .min(1)
  .optional()
  .describe("output that holds what is scored; the model's first one when absent");

export const classificationMetricSchema = z.strictObject({
  kind: z.literal('classification'),
  topk: z
    .array(z.number().int().positive())
    .min(1)
    .default([1, 5])
    .describe('correct when the label is among the k largest scores'),
  names: z
    .array(z.string().min(1))
    .min(2)
    .optional()
    .describe(
      "names of the classes in the model's order: labels may then be names, and class folders are found by them",
    ),
  /** [N, C]. */
  output,
  judge,
});

export const segmentationMetricSchema = z.strictObject({
  kind: z.literal('segmentation'),
  classes: z
    .number()
    .int()
    .min(2)
    .optional()
    .describe('labels 0 to classes − 1 are scored; as many as the output has channels when absent'),
  ignore: z.array(z.number().int()).default([255]).describe('label values of pixels that do not count'),
  /** Scores [N, C, H, W], in the layout of the pictures, or class numbers [N, H, W]. */
  output,
  judge,
});

/** Squares that a single-shot detector's boxes are corrections of. */
const priorsSchema = z
  .strictObject({
    strides: z.array(z.number().int().positive()).min(1),
    sizes: z
      .array(z.array(z.number().positive()).min(1))
      .min(1)
      .describe('sides in pixels of the input, a list for each stride'),
    variances: z
      .tuple([z.number().positive(), z.number().positive()])
      .default([0.1, 0.2])
      .describe('what corrections of the centre and of the size are multiplied with'),
    clip: z.boolean().default(true).describe('cut centres and sizes to the input'),
  })
  .refine(({ strides, sizes }) => strides.length === sizes.length, 'a list of sizes for each stride');

/** Where an SSD-like model has its boxes. */
const ssdSchema = z.strictObject({
  boxes: z
    .string()
    .min(1)
    .optional()
    .describe('outputs [1, boxes, 4] and [1, boxes, classes]; told by their shapes when absent'),
  scores: z.string().min(1).optional(),
  priors: priorsSchema
    .optional()
    .describe(
      'where the four numbers of a box are corrections: of what; absent where the model has made boxes of them',
    ),
  order: z
    .enum(['xyxy', 'yxyx', 'cxcywh'])
    .default('xyxy')
    .describe('what the four numbers of a box are otherwise'),
  unit: z.enum(['share', 'pixel']).default('share').describe("shares of the input's sides, or its pixels"),
  background: z
    .boolean()
    .default(true)
    .describe('the first class means "no object": it is left out, and classes count from the one after it'),
});

/** Where the sides of a box are distributions over distances from a cell. */
const gflSchema = z.strictObject({
  cellOffset: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('where in its cell the distances begin: 0 at the corner, 0.5 in the middle'),
  bins: z
    .number()
    .int()
    .min(2)
    .default(8)
    .describe('distances that a side is a distribution over, 0 to bins − 1 strides'),
});

export const detectionMetricSchema = z.strictObject({
  kind: z.literal('detection'),
  decode: z
    .enum(['yolox', 'yolov5', 'yolov8', 'ssd', 'gfl'])
    .default('yolox')
    .describe(
      "how boxes come out of the outputs. 'yolox': [1, cells, 5 + classes] over a grid a stride. 'yolov5': [1, boxes, 5 + classes], 'yolov8': [1, 4 + classes, boxes], both with boxes in pixels of the input. 'ssd': boxes and scores in two outputs. 'gfl': scores and distributions over the grids of strides, in one output or in two a stride",
    ),
  strides: z
    .array(z.number().int().positive())
    .min(1)
    .default([8, 16, 32])
    .describe("of the grids of 'yolox' and 'gfl'"),
  ssd: ssdSchema.optional(),
  gfl: gflSchema.optional(),
  classes: z.number().int().positive().optional().describe("told by the output's shape when absent"),
  scoreThreshold: z
    .number()
    .min(0)
    .max(1)
    .default(0.001)
    .describe('boxes below this score are dropped before non-maximum suppression'),
  nmsIou: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe(
      'boxes of one class that overlap a better one by more than this are dropped; each decoder has its usual value',
    ),
  maxDetections: z
    .number()
    .int()
    .positive()
    .default(300)
    .describe("best boxes kept a picture; 'coco' looks at no more than 100 of each class among them"),
  protocol: z
    .enum(['coco', 'wider-face'])
    .default('coco')
    .describe(
      "'coco': average precision over IoU .50 to .95. 'wider-face': at IoU .50, over all points of the curve",
    ),
  agreementThreshold: z
    .number()
    .min(0)
    .max(1)
    .default(0.3)
    .describe(
      'float boxes from this score on are the truth that "same decision" holds the quantized boxes against',
    ),
  output,
  judge,
});

export const imageMetricSchema = z.strictObject({
  kind: z.literal('image'),
  range: z.tuple([z.number(), z.number()]).default([0, 1]).describe('what black and white are in the output'),
  border: z.number().int().nonnegative().default(0).describe('pixels left out at every edge'),
  channel: z
    .enum(['all', 'luma'])
    .default('all')
    .describe(
      "'all' channels alike, or the luma alone (ITU-R BT.601 with 16 to 235, as super-resolution is scored)",
    ),
  /** [1, 1 or 3, H, W], in the layout and colour order of the pictures. */
  output,
  judge,
});

export const tokensMetricSchema = z.strictObject({
  kind: z.literal('tokens'),
  shift: z
    .boolean()
    .default(false)
    .describe(
      'logits at position t are for the label at t, or, for models that predict the next token, at t + 1',
    ),
  ignore: z.array(z.number().int()).default([-100]).describe('labels that do not count'),
  /** Logits [1, T, vocabulary]. */
  output,
  judge,
});

export const userMetricSchema = z.strictObject({
  kind: z.literal('user'),
  file: z
    .string()
    .min(1)
    .describe(
      "python file with `evaluate(outputs, labels)`; in a recipe a relative path starts at the recipe's folder",
    ),
  patience: z
    .number()
    .positive()
    .default(120)
    .describe(
      'seconds without a sign of life (a sample read, a line printed) after which it is taken for hung',
    ),
  judge,
});

export const metricSchema = z.discriminatedUnion('kind', [
  classificationMetricSchema,
  segmentationMetricSchema,
  detectionMetricSchema,
  imageMetricSchema,
  tokensMetricSchema,
  userMetricSchema,
]);

export const METRIC_KINDS = [
  'classification',
  'segmentation',
  'detection',
  'image',
  'tokens',
  'user',
] as const satisfies readonly Metric['kind'][];

export type ClassificationMetric = z.infer<typeof classificationMetricSchema>;
export type SegmentationMetric = z.infer<typeof segmentationMetricSchema>;
export type DetectionMetric = z.infer<typeof detectionMetricSchema>;
export type Priors = z.infer<typeof priorsSchema>;
export type SsdLayout = z.infer<typeof ssdSchema>;
export type ImageMetric = z.infer<typeof imageMetricSchema>;
export type TokensMetric = z.infer<typeof tokensMetricSchema>;
export type UserMetric = z.infer<typeof userMetricSchema>;
export type Metric = z.infer<typeof metricSchema>;

/** What labels mean where no metric was named. */
export const DEFAULT_METRIC: Metric = { kind: 'classification', topk: [1, 5] };
