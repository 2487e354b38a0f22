import { z } from 'zod';
import { numberSchema } from './common.js';
import { METRIC_KINDS } from './metric.js';

/** What verification found: the float model against the quantized one, over the same samples. */

/** Distances between two tensors, added up over samples. */
export const similaritySchema = z.strictObject({
  sqnr: numberSchema.describe(
    "signal-to-quantization-noise ratio in dB: 10·log10(signal / noise); 'Infinity' when nothing differs",
  ),
  cosine: numberSchema.describe(
    'cosine similarity, the mean over samples; samples whose values are all zero in both count as 1',
  ),
  signal: z.number().describe('sum over all samples of value², and of (value − quantized value)²'),
  noise: z.number(),
  maxAbsoluteError: z.number(),
  elements: z
    .number()
    .describe('elements compared, and those left out because one of the two is NaN or infinite'),
  nonFinite: z.number(),
});

export const outputComparisonSchema = z.strictObject({
  name: z.string(),
  similarity: similaritySchema,
  agreement: z
    .strictObject({
      over: z.enum(['rows', 'pixels', 'elements']),
      share: z.number(),
      count: z.number(),
      standardError: z
        .number()
        .nullable()
        .describe('standard error of the share over the choice of samples; null with fewer than 8'),
    })
    .nullable()
    .describe(
      "share of equal decisions, 0 to 1: largest class of each row ('rows', [N, C]) or pixel ('pixels', [N, C, H, W]), or of equal elements where the output is of an integer type ('elements'). null where the output decides nothing",
    ),
  sqnrStandardError: z
    .number()
    .nullable()
    .describe(
      'standard error of `similarity.sqnr` over the choice of samples, in dB; null with fewer than 8, or without noise',
    ),
  differentShapes: z
    .number()
    .describe('samples for which the two models gave this output in different shapes; they are not compared'),
});

export const tensorComparisonSchema = similaritySchema.extend({ name: z.string() });

/** One figure of a task metric. The first of a list is the one to judge by. */
export const scoreSchema = z.strictObject({
  name: z.string(),
  unit: z
    .enum(['%', 'dB', 'nats', ''])
    .describe("of the figures: '%', 'dB', 'nats', or '' for a number of its own kind"),
  better: z.enum(['higher', 'lower']),
  float: z.number().nullable().describe('null where the float model itself is the reference'),
  quantized: z.number(),
  standardErrors: z
    .strictObject({
      float: z.number().nullable(),
      quantized: z.number(),
      difference: z.number().nullable(),
    })
    .nullable()
    .describe(
      "standard errors over the choice of samples, by bootstrap; that of quantized − float is paired: both models see the same draws. null with fewer than 8 samples, or where a user's metric was too slow to be called again",
    ),
  interval: z
    .tuple([z.number(), z.number()])
    .nullable()
    .describe(
      '95 % interval of quantized − float from the same draws: when it holds zero, the difference is within what the choice of samples explains. null where there is no difference or no draws',
    ),
});

export const taskResultSchema = z.strictObject({
  kind: z.enum(METRIC_KINDS),
  against: z
    .enum(['labels', 'float model', 'nothing'])
    .describe("what the outputs were held against: 'float model' stands in where no labels were given"),
  samples: z.number(),
  scores: z.array(scoreSchema).min(1),
});

export const verificationSchema = z.strictObject({
  evaluator: z.strictObject({
    name: z.literal('onnxruntime-node'),
    version: z.string(),
    optimization: z.enum(['disabled', 'basic', 'all']),
    threads: z.number(),
  }),
  samples: z.number(),
  outputs: z.array(outputComparisonSchema),
  task: taskResultSchema
    .nullable()
    .describe('null without a metric, or where it needs labels and there are none'),
  tensors: z
    .array(tensorComparisonSchema)
    .describe(
      "at each quantizer: the float tensor against the quantized model's, over the first `tensorSamples` samples",
    ),
  tensorSamples: z.number(),
  seconds: z.number(),
  floatSecondsPerSample: z
    .number()
    .describe('seconds a sample inside each model, as verified (not a measure of the device)'),
  quantizedSecondsPerSample: z.number(),
  warnings: z.array(z.string()),
});

/** How far the ONNX form of a model is from the model in its own framework. */
export const paritySchema = z.strictObject({
  executor: z.string(),
  samples: z.number().int(),
  maxAbsoluteDifference: z.number(),
  maxRelativeDifference: z.number().describe('largest |difference| / largest |value| over the outputs'),
  worstTensor: z.string().nullable(),
});

/** A model that came through a door, and the file that goes back (src/doors). */
export const doorResultSchema = z.strictObject({
  framework: z.enum(['tensorflow', 'pytorch']),
  versions: z.record(z.string(), z.string()),
  conversion: z
    .strictObject({ seconds: z.number(), importSeconds: z.number(), peakBytes: z.number() })
    .describe('what reading, converting and comparing took; the import of the framework is apart'),
  parity: z
    .strictObject({ random: paritySchema, samples: paritySchema.nullable() })
    .describe('the ONNX form against the framework, on random inputs and on calibration samples'),
  frontEnd: z
    .strictObject({ description: z.string(), features: z.string() })
    .nullable()
    .describe('outside ONNX, before the network: what it is, and the tensor that the network begins at'),
  notes: z
    .array(z.string())
    .describe('what was written back, one sentence each, and activations that the file does not quantize'),
  unmapped: z.array(z.strictObject({ tensor: z.string(), reason: z.string() })),
  unwritten: z
    .string()
    .nullable()
    .describe("why there is no file in the model's own format; null where there is one"),
  check: z
    .strictObject({
      executor: z.string(),
      samples: z.number(),
      task: taskResultSchema.nullable(),
      outputs: z.array(outputComparisonSchema),
      againstOnnx: z
        .array(outputComparisonSchema)
        .describe('the quantized ONNX model in onnxruntime against the written-back one in the framework'),
    })
    .nullable()
    .describe('the float model and the written-back one, both run in the framework on the scored samples'),
});

export type Parity = z.infer<typeof paritySchema>;
export type DoorResult = z.infer<typeof doorResultSchema>;
export type Similarity = z.infer<typeof similaritySchema>;
export type OutputComparison = z.infer<typeof outputComparisonSchema>;
export type TensorComparison = z.infer<typeof tensorComparisonSchema>;
export type Score = z.infer<typeof scoreSchema>;
export type TaskResult = z.infer<typeof taskResultSchema>;
export type Verification = z.infer<typeof verificationSchema>;
