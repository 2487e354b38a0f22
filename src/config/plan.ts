import { z } from 'zod';

/**
 * plan.json: what becomes of every node and tensor, decided before any number is known.
 *
 * Tensor and node names are those of graph.json. `solve` later adds the numbers (quant_params.json).
 */
export const quantizerFormatSchema = z.strictObject({
  bits: z.union([z.literal(8), z.literal(16)]),
  signed: z.boolean(),
  symmetric: z.boolean(),
});

/** How a tensor's range comes about. */
export const rangeRuleSchema = z.discriminatedUnion('kind', [
  /** From calibration statistics of this tensor. */
  z.strictObject({ kind: z.literal('observed') }),
  /** Known from the operator (Sigmoid, Softmax: [0, 1]). */
  z.strictObject({ kind: z.literal('fixed'), low: z.number(), high: z.number(), because: z.string() }),
  /** The parameters of another quantized tensor, because only pass-through operators lie between. */
  z.strictObject({ kind: z.literal('shared'), with: z.string() }),
]);

export const activationPlanSchema = z.strictObject({
  tensor: z.string(),
  format: quantizerFormatSchema,
  range: rangeRuleSchema,
  /** Group (below) that produces it; null for a graph input. */
  producer: z.string().nullable(),
  /** Axis along which every reader can take one scale a channel (depthwise convolutions only read it); null otherwise. */
  channelAxis: z.number().int().nullable(),
});

export const weightPlanSchema = z.strictObject({
  /** Initializer name, as in graph.json. */
  tensor: z.string(),
  node: z.string(),
  /** 4 bits come from the training plug-in alone. */
  format: quantizerFormatSchema.extend({ bits: z.union([z.literal(4), z.literal(8), z.literal(16)]) }),
  /** Output-channel axis of the weight as stored, or null for one scale for the whole tensor. */
  axis: z.number().int().nullable(),
  /** ConvTranspose: the output channels of all groups are spread over axis 1 of each group. */
  groups: z.number().int().positive(),
});

/** A fused operator: what the NPU runs as one kernel. Its last node's first output is the fused output. */
export const groupSchema = z.strictObject({
  name: z.string(),
  /** 'conv', 'gemm', 'matmul', 'add', 'concat', 'pool', 'activation', 'pass-through', … */
  kind: z.string(),
  nodes: z.array(z.string()),
  /** Data inputs (not initializers), in order. */
  inputs: z.array(z.string()),
  output: z.string(),
  quantized: z.boolean(),
  /** The activation swallowed at its end ('Relu', 'Clip', 'SiLU', …), if any. */
  activation: z.string().nullable(),
});

export const batchNormFoldSchema = z.strictObject({
  /** Conv, ConvTranspose or Gemm that takes the normalization in. */
  into: z.string(),
  batchNorm: z.string(),
});

export const concatPlanSchema = z.strictObject({
  node: z.string(),
  inputs: z.array(z.string()),
  output: z.string(),
});

export const floatNodeSchema = z.strictObject({
  node: z.string(),
  op: z.string(),
  reason: z.string(),
  /** 'unsupported' operators are errors with --strict; the others are policy. */
  cause: z.enum(['unsupported', 'excluded', 'precision', 'postprocessing', 'shape', 'policy']),
});

export const planSchema = z.strictObject({
  version: z.literal(1),
  /** Its first width is that of the activations; each weight states its own. */
  strategy: z.enum(['int8-8', 'int16-8']),
  target: z.string(),
  /** What lies in memory between operators; see TargetProfile in src/target/profiles.ts. */
  storage: z.enum(['float16', 'integer']),
  folds: z.array(batchNormFoldSchema),
  groups: z.array(groupSchema),
  activations: z.array(activationPlanSchema),
  weights: z.array(weightPlanSchema),
  /** Concats whose inputs may share one quantizer; solve decides by the loss that tying costs. */
  concats: z.array(concatPlanSchema),
  floatNodes: z.array(floatNodeSchema),
});

export type QuantizerFormat = z.infer<typeof quantizerFormatSchema>;
export type RangeRule = z.infer<typeof rangeRuleSchema>;
export type ActivationPlan = z.infer<typeof activationPlanSchema>;
export type WeightPlan = z.infer<typeof weightPlanSchema>;
export type Group = z.infer<typeof groupSchema>;
export type FloatNode = z.infer<typeof floatNodeSchema>;
export type Plan = z.infer<typeof planSchema>;
