import { z } from 'zod';

/** What every part of the artifact says of where it lies. */
const placeShape = {
  shard: z.string().describe("file in the artifact's folder"),
  block: z
    .number()
    .int()
    .nonnegative()
    .nullable()
    .describe('decoder block, counted from 0; null outside of the blocks'),
};

/** A layer in integers: weight[n, k] = integer[n, k] · scale[n, k div group size]. */
export const quantizedLayerSchema = z.strictObject({
  name: z.string(),
  shape: z.tuple([z.number().int().positive(), z.number().int().positive()]).describe('outputs, inputs'),
  bits: z.number().int().min(2).max(8),
  groupSize: z.number().int().nonnegative().describe('inputs that share a scale; 0 for one scale a row'),
  symmetric: z.literal(true),
  strategy: z.string().describe('how the integers were found: rtn, gptq, …'),
  ...placeShape,
});

/** A static grid of an activation: real = scale · (integer − zeroPoint). */
export const llmActivationSchema = z.strictObject({
  name: z.string(),
  scale: z.number().positive(),
  zeroPoint: z.number().int(),
  bits: z.number().int().min(2).max(16),
  symmetric: z.boolean(),
  low: z.number().describe('range seen in calibration'),
  high: z.number(),
  sqnr: z
    .number()
    .nullable()
    .describe('signal to noise in dB; null where it was not measured, or the grid makes no error'),
  rule: z.string().describe('what chose the grid: minmax, percentile, fixed, shared with X, …'),
});

/**
 * index.json of a quantized language model: what there is, and in which file. The folder also holds the shards, and
 * config.json and the tokenizer in `modelFolder`. The layout of the tensors is told in python/dopt/llm/artifact.py.
 */
export const llmArtifactSchema = z.strictObject({
  version: z.literal(1),
  architecture: z.string().describe('class of the model in transformers'),
  modelFolder: z.string(),
  fingerprint: z.string().describe('digest of all that decided the weights'),
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
  meta: z.record(z.string(), z.unknown()).describe('settings and figures of the run that made it'),
  digest: z
    .string()
    .describe('sha256 over layers, activations and the digests of the shards: equal for equal results'),
});
export type LlmArtifact = z.infer<typeof llmArtifactSchema>;
