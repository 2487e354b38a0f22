import { z } from 'zod';
import { widthsSchema } from './common.js';
import { predictedCostSchema } from './cost.js';
import { floatNodeSchema } from './plan.js';
import { precisionSearchSchema } from './precision.js';
import { tuningSchema } from './tuning.js';
import { doorResultSchema, verificationSchema } from './verification.js';

/** A file with what identifies it. Paths inside the run folder are relative to it, others absolute. */
export const fileDigestSchema = z.strictObject({ path: z.string(), bytes: z.number(), sha256: z.string() });

/** Samples taken from one place, by name. */
export const sampleSetSchema = z.strictObject({
  path: z.string(),
  sha256: z.string().describe('digest over the names and contents of everything in the source'),
  samples: z.number(),
  skipped: z.array(z.strictObject({ file: z.string(), reason: z.string() })),
});

export const equalizationSchema = z.strictObject({
  layers: z.number().describe('exponent of the scales between layers; 0 leaves them as they are'),
  norms: z.number().describe('the same behind layer normalizations'),
  offsets: z.boolean().describe('whether offsets of channels moved into the next layers'),
  gain: z
    .number()
    .describe('dB at the outputs on samples kept back, over the network as it was, quickly quantized'),
  standardError: z.number().describe('of the gain'),
});

/** result.json, and what `dopt quantize --json` prints. */
export const resultSchema = z.strictObject({
  $schema: z.string().optional(),
  version: z.literal(1),
  dopt: z.string().describe('version of dopt'),
  model: z.strictObject({
    name: z.string(),
    source: fileDigestSchema,
    opset: z.strictObject({ from: z.number(), to: z.number() }),
    nodes: z.number().describe('operators of the captured graph'),
    notes: z.array(z.string()).describe('what capture changed, one sentence each'),
    parity: z
      .strictObject({
        executor: z.string(),
        samples: z.number(),
        maxAbsoluteDifference: z.number(),
        maxRelativeDifference: z.number(),
      })
      .describe('largest relative difference between the captured model and the original, on random inputs'),
  }),
  settings: z.strictObject({
    strategy: widthsSchema,
    target: z.string(),
    weightsGranularity: z.enum(['channel', 'tensor']),
    calibration: z.string(),
    effort: z.string(),
    without: z.array(z.string()).describe('algorithms that were switched off'),
    with: z
      .array(z.string())
      .default([])
      .describe('algorithms that ran though the effort does not begin with them'),
    recipe: z.string().nullable(),
    exclude: z.array(z.string()),
    precision: z
      .strictObject({ int16: z.array(z.string()), float: z.array(z.string()) })
      .default({ int16: [], float: [] })
      .describe("activations that were asked to take another precision than the strategy's, as patterns"),
    seed: z.number(),
  }),
  data: z.strictObject({
    calibration: sampleSetSchema,
    verification: sampleSetSchema.nullable().describe('null when nothing could be kept back for scoring'),
    disjoint: z.boolean().describe('checked by name and bytes: no scored sample was calibrated with'),
  }),
  quantization: z.strictObject({
    activations: z.number().describe('quantized activations, and weights with their operators'),
    int16: z.number().default(0).describe('how many of the activations carry 16 bits'),
    weights: z.number(),
    equalization: equalizationSchema
      .nullable()
      .default(null)
      .describe(
        'how channels of the float model were scaled against each other before; null where that was not found to gain',
      ),
    floatNodes: z.array(floatNodeSchema),
  }),
  sizes: z.strictObject({
    float: z
      .number()
      .describe('bytes of the captured float model and of the quantized one, external data included'),
    quantized: z.number(),
  }),
  verification: verificationSchema.nullable(),
  precision: precisionSearchSchema
    .nullable()
    .default(null)
    .describe('what a search for the tensors that must be wider came to; null where there was none'),
  predicted: predictedCostSchema
    .nullable()
    .default(null)
    .describe('what the cost model predicts on the target; null where sizes of tensors are not fixed'),
  tuning: tuningSchema
    .nullable()
    .default(null)
    .describe('what a comparison of settings of the engine came to; null where there was none'),
  door: doorResultSchema.nullable().describe('for models that did not come as ONNX'),
  stages: z
    .array(
      z.strictObject({
        name: z.string(),
        seconds: z.number(),
        reused: z.boolean(),
        peakBytes: z
          .number()
          .nullable()
          .describe("largest resident set of the stage's Python jobs; null where it had none"),
      }),
    )
    .describe('in order; `reused` stages were finished by an earlier run in the folder'),
  seconds: z.number(),
  peakBytes: z.number().nullable().describe("largest resident memory of any of the run's processes"),
  warnings: z.array(z.string()),
  command: z.array(z.string()).describe('the command line as given, program name first'),
  versions: z
    .record(z.string(), z.string())
    .describe('of Node, Python, onnx, onnxruntime, the native core, …'),
  files: z.record(z.string(), fileDigestSchema).describe('the results in the run folder'),
});

/** What `dopt verify --json` prints: two files compared, whoever made them. */
export const comparisonSchema = z.strictObject({
  version: z.literal(1),
  dopt: z.string(),
  float: fileDigestSchema,
  quantized: fileDigestSchema,
  data: sampleSetSchema,
  verification: verificationSchema,
});

export type Equalization = z.infer<typeof equalizationSchema>;
export type FileDigest = z.infer<typeof fileDigestSchema>;
export type SampleSet = z.infer<typeof sampleSetSchema>;
export type RunResult = z.infer<typeof resultSchema>;
export type Comparison = z.infer<typeof comparisonSchema>;
