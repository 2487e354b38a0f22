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
  /** Digest over the names and contents of everything in the source. */
  sha256: z.string(),
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
    /** Operators of the captured graph. */
    nodes: z.number(),
    /** What capture changed, one sentence each. */
    notes: z.array(z.string()),
    /** Largest relative difference between the captured model and the original, on random inputs. */
    parity: z.strictObject({
      executor: z.string(),
      samples: z.number(),
      maxAbsoluteDifference: z.number(),
      maxRelativeDifference: z.number(),
    }),
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
    /** Activations that were asked to take another precision than the strategy's, as patterns. */
    precision: z
      .strictObject({ int16: z.array(z.string()), float: z.array(z.string()) })
      .default({ int16: [], float: [] }),
    seed: z.number(),
  }),
  data: z.strictObject({
    calibration: sampleSetSchema,
    /** null when nothing could be kept back for scoring. */
    verification: sampleSetSchema.nullable(),
    /** Checked by name: no scored sample was calibrated with. */
    disjoint: z.boolean(),
  }),
  quantization: z.strictObject({
    /** Quantized activations, and weights with their operators. */
    activations: z.number(),
    /** How many of the activations carry 16 bits. */
    int16: z.number().default(0),
    weights: z.number(),
    /** How channels of the float model were scaled against each other before; null where that was not found to gain. */
    equalization: equalizationSchema.nullable().default(null),
    floatNodes: z.array(floatNodeSchema),
  }),
  sizes: z.strictObject({
    /** Bytes of the captured float model and of the quantized one, external data included. */
    float: z.number(),
    quantized: z.number(),
  }),
  verification: verificationSchema.nullable(),
  /** What a search for the tensors that must be wider came to; null where there was none. */
  precision: precisionSearchSchema.nullable().default(null),
  /** What the cost model predicts on the target; null where sizes of tensors are not fixed. */
  predicted: predictedCostSchema.nullable().default(null),
  /** What a comparison of settings of the engine came to; null where there was none. */
  tuning: tuningSchema.nullable().default(null),
  /** For models that did not come as ONNX. */
  door: doorResultSchema.nullable(),
  /** In order; `reused` stages were finished by an earlier run in the folder. */
  stages: z.array(
    z.strictObject({
      name: z.string(),
      seconds: z.number(),
      reused: z.boolean(),
      /** Largest resident set of the stage's Python jobs; null where it had none. */
      peakBytes: z.number().nullable(),
    }),
  ),
  seconds: z.number(),
  /** Largest resident memory of any of the run's processes. */
  peakBytes: z.number().nullable(),
  warnings: z.array(z.string()),
  /** The command line as given, program name first. */
  command: z.array(z.string()),
  /** Of Node, Python, onnx, onnxruntime, the native core, … */
  versions: z.record(z.string(), z.string()),
  /** The results in the run folder. */
  files: z.record(z.string(), fileDigestSchema),
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
