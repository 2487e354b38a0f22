import { z } from 'zod';
import { fileDigestSchema } from './result.js';

const shapeSchema = z.tuple([z.number().int(), z.number().int()]);

/** What becomes of every layer of a language model, and what that takes. */
export const llmCoverageSchema = z.strictObject({
  layers: z.array(
    z.strictObject({
      name: z.string(),
      block: z.number().int().nullable(),
      shape: shapeSchema.describe('outputs, inputs'),
      bits: z.number().int().nullable().describe('null: float'),
      groupSize: z.number().int().nullable().describe('inputs that share a scale; 0: all of a row'),
      strategy: z.string(),
      reason: z.string().nullable().describe('why it stays float'),
      bytes: z.number().describe('of the result'),
      seconds: z.number().describe('estimated'),
    }),
  ),
  embedding: z.strictObject({
    name: z.string(),
    shape: shapeSchema,
    bits: z.number().int().nullable(),
    bytes: z.number(),
  }),
  uncovered: z
    .array(z.strictObject({ name: z.string(), reason: z.string() }))
    .describe('other matrices that stay float'),
  covered: z.number().describe('share of the weights of the decoder blocks that become integers'),
  meanBits: z.number().describe('of a decoder weight, scales of 16 bits included'),
  bytes: z.number().describe('of the result without norms and biases'),
  floatBytes: z.number().describe('of the model in 16 bits'),
  seconds: z.number().describe('estimated for the weights'),
  memory: z
    .strictObject({
      base: z.number(),
      weights: z.number(),
      gram: z.number(),
      states: z.number(),
      total: z.number(),
      lockstep: z.boolean().describe('whether passes through a block run once and wait for its layers'),
    })
    .describe('promised bytes at the moment that needs most'),
  calibration: z.strictObject({ samples: z.number().int(), length: z.number().int() }),
});
export type LlmCoverage = z.infer<typeof llmCoverageSchema>;

const textSchema = z.strictObject({
  files: z.array(z.string()),
  samples: z.number().int(),
  length: z.number().int(),
  tokens: z.number().int(),
  sha256: z.string(),
});

/** What scoring found. */
export const llmScoreSchema = z.strictObject({
  recipe: z.string(),
  text: textSchema,
  calibrated: z.boolean().describe('whether it was the text that calibrated: better than on other text'),
  activations: z.boolean().describe('whether activations were rounded to their grids, too'),
  scored: z.number().int().describe('tokens predicted'),
  float: z.strictObject({ perplexity: z.number(), nats: z.number() }),
  quantized: z.strictObject({
    perplexity: z.number(),
    nats: z.number(),
    kl: z.number().describe('mean divergence from the float model, nats a token'),
    agreement: z.number().describe('share of tokens with the same first choice'),
    blocks: z.array(z.number()).describe("error of each block's output over its power"),
  }),
  samples: z.array(
    z.strictObject({ prompt: z.string(), float: z.string(), quantized: z.string().nullable() }),
  ),
});
export type LlmScore = z.infer<typeof llmScoreSchema>;

/** result.json of `dopt llm quantize`, and what it prints with --json. */
export const llmResultSchema = z.strictObject({
  $schema: z.string().optional(),
  version: z.literal(1),
  dopt: z.string(),
  model: z.strictObject({
    name: z.string(),
    folder: z.string(),
    architecture: z.string(),
    family: z.string(),
    blocks: z.number().int(),
    parameters: z.number().int(),
    sha256: z.string().describe('over the configuration and the names, shapes and places of the weights'),
  }),
  strategy: z.literal('int16-4'),
  effort: z.string(),
  quantized: z.string().describe('folder of the quantized model in the run folder'),
  digest: z.string().describe('over all integers, scales and activation parameters'),
  coverage: llmCoverageSchema,
  calibration: textSchema,
  blocks: z.array(
    z.strictObject({
      block: z.number().int(),
      error: z.number(),
      rotated: z.boolean(),
      seconds: z.number(),
    }),
  ),
  linears: z.array(
    z.strictObject({
      name: z.string(),
      chosen: z.string(),
      fallback: z.string().nullable(),
      error: z.number().describe("of the layer's output over its power"),
      errorNearest: z.number().describe('the same for rounding to nearest'),
      tokens: z.number().int(),
    }),
  ),
  activations: z
    .strictObject({
      bits: z.number().int(),
      kvBits: z.number().int().describe('of keys and values as they lie in the cache'),
      symmetric: z.boolean(),
      tensors: z.number().int(),
      lowest: z.array(z.strictObject({ name: z.string(), sqnr: z.number() })).describe('in dB, lowest first'),
    })
    .nullable(),
  distillation: z
    .strictObject({ steps: z.number().int(), before: z.number(), after: z.number(), loss: z.string() })
    .nullable(),
  score: llmScoreSchema.nullable(),
  memory: z.strictObject({
    promised: z.number().describe('bytes, before the start'),
    peak: z.number().describe('bytes, of the weights and the activations'),
  }),
  exports: z.array(
    z.strictObject({
      format: z.string(),
      folder: z.string(),
      float: z.number().int(),
      notes: z.array(z.string()),
    }),
  ),
  warnings: z.array(z.string()),
  seconds: z.number(),
  stages: z.array(
    z.strictObject({
      name: z.string(),
      seconds: z.number(),
      reused: z.boolean(),
      peakBytes: z.number().nullable(),
    }),
  ),
  versions: z.record(z.string(), z.string()),
  command: z.array(z.string()),
  files: z.record(z.string(), fileDigestSchema),
});
export type LlmResult = z.infer<typeof llmResultSchema>;
