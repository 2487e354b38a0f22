import { z } from 'zod';
import { dimSchema, dtypeSchema, numberSchema } from './common.js';

/**
 * graph.json: the network as data, written by the capture stage and read by everything that decides.
 *
 * It mirrors the captured `float.onnx` beside it node by node (same names, same order: topological), with
 * constants folded, Constant nodes turned into initializers, every node named uniquely, and shapes inferred.
 * Weights stay in `weights.safetensors`; only values of at most 64 elements are repeated here, for pattern matching.
 */
export const tensorTypeSchema = z.strictObject({
  dtype: dtypeSchema,
  /** null when the rank is unknown. */
  shape: z.array(dimSchema).nullable(),
});

export const graphValueSchema = tensorTypeSchema.extend({ name: z.string() });

export const initializerSchema = z.strictObject({
  name: z.string(),
  dtype: dtypeSchema,
  shape: z.array(z.number().int().nonnegative()),
  /** The elements in row-major order when there are at most 64 of them. */
  value: z.array(numberSchema).optional(),
});

export const attributeSchema = z.union([
  numberSchema,
  z.string(),
  z.array(numberSchema),
  z.array(z.string()),
]);

export const nodeSchema = z.strictObject({
  name: z.string(),
  op: z.string(),
  domain: z.string(),
  /** Tensor names in order; '' marks an omitted optional input. */
  inputs: z.array(z.string()),
  outputs: z.array(z.string()),
  attributes: z.record(z.string(), attributeSchema),
  /** Names of outer tensors read by the node's subgraphs (If, Loop, Scan); absent without subgraphs. */
  captures: z.array(z.string()).optional(),
});

export const graphSchema = z.strictObject({
  version: z.literal(1),
  name: z.string(),
  irVersion: z.number().int(),
  /** Operator set by domain; '' is the default domain. */
  opset: z.record(z.string(), z.number().int()),
  inputs: z.array(graphValueSchema),
  outputs: z.array(graphValueSchema),
  initializers: z.array(initializerSchema),
  nodes: z.array(nodeSchema),
  /** Types of intermediate tensors, as far as shape inference found them. */
  tensors: z.record(z.string(), tensorTypeSchema),
});

export type TensorType = z.infer<typeof tensorTypeSchema>;
export type GraphValue = z.infer<typeof graphValueSchema>;
export type Initializer = z.infer<typeof initializerSchema>;
export type Attribute = z.infer<typeof attributeSchema>;
export type GraphNode = z.infer<typeof nodeSchema>;
export type GraphFile = z.infer<typeof graphSchema>;
