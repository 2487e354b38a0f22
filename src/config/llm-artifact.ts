import { z } from 'zod';

/** What every part of the artifact says of where it lies. */
const placeShape = {
  /** File in the artifact's folder. */
  shard: z.string(),
  /** Decoder block, counted from 0; null outside of the blocks. */
  block: z.number().int().nonnegative().nullable(),
};

/** A layer in integers: weight[n, k] = integer[n, k] · scale[n, k div group size]. */
export const quantizedLayerSchema = z.strictObject({
  name: z.string(),
  /** Outputs, inputs. */
  shape: z.tuple([z.number().int().positive(), z.number().int().positive()]),
  bits: z.number().int().min(2).max(8),
  /** Inputs that share a scale; 0 for one scale a row. */
  groupSize: z.number().int().nonnegative(),
  symmetric: z.literal(true),
  /** How the integers were found: rtn, gptq, … */
  strategy: z.string(),
  ...placeShape,
});

/** A static grid of an activation: real = scale · (integer − zeroPoint). */
export const llmActivationSchema = z.strictObject({
  name: z.string(),
  scale: z.number().positive(),
  zeroPoint: z.number().int(),
  bits: z.number().int().min(2).max(16),
  symmetric: z.boolean(),
  /** Range seen in calibration. */
  low: z.number(),
  high: z.number(),
  /** Signal to noise in dB; null where it was not measured, or the grid makes no error. */
  sqnr: z.number().nullable(),
  /** What chose the grid: minmax, percentile, fixed, shared with X, … */
  rule: z.string(),
});

/**
 * index.json of a quantized language model: what there is, and in which file. The folder also holds the shards, and
 * config.json and the tokenizer in `modelFolder`. The layout of the tensors is told in python/dopt/llm/artifact.py.
 */
export const llmArtifactSchema = z.strictObject({
  version: z.literal(1),
  /** Class of the model in transformers. */
  architecture: z.string(),
  modelFolder: z.string(),
  /** Digest of all that decided the weights. */
  fingerprint: z.string(),
  linears: z.array(quantizedLayerSchema),
  embeddings: z.array(quantizedLayerSchema),
  floats: z.array(
    z.strictObject({ name: z.string(), dtype: z.string(), shape: z.array(z.number().int()), ...placeShape }),
  ),
  activations: z.array(llmActivationSchema),
  shards: z.array(
    z.strictObject({
      file: z.string(),
      block: z.number().int().nonnegative().nullable(),
      bytes: z.number().int().nonnegative(),
      sha256: z.string(),
    }),
  ),
  /** Settings and figures of the run that made it. */
  meta: z.record(z.string(), z.unknown()),
  /** sha256 over layers, activations and the digests of the shards: equal for equal results. */
  digest: z.string(),
});
export type LlmArtifact = z.infer<typeof llmArtifactSchema>;
