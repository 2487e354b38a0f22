import { z } from 'zod';
import { attributeSchema } from './graph.js';

/**
 * rewrite.json: a list of edits that turns one ONNX file into another. TypeScript writes it, Python carries it out
 * without deciding anything: remove nodes, add initializers, redirect inputs, add nodes, set outputs; then sort,
 * drop what nothing reads any more, check and save.
 */
export const newNodeSchema = z.strictObject({
  name: z.string(),
  op: z.string(),
  domain: z.string().default(''),
  inputs: z.array(z.string()),
  outputs: z.array(z.string()),
  attributes: z.record(z.string(), attributeSchema).default({}),
});

export const rewriteSchema = z.strictObject({
  version: z.literal(1),
  removeNodes: z.array(z.string()),
  /** Initializers taken from the safetensors file named in the job, by tensor name; replaces one of the same name. */
  initializers: z.array(z.string()),
  /** node's input `index` reads `tensor` instead; the index may be one past the end (a bias is appended). */
  inputs: z.array(z.strictObject({ node: z.string(), index: z.number().int(), tensor: z.string() })),
  /** node's output `index` is called `tensor` instead. */
  outputs: z.array(z.strictObject({ node: z.string(), index: z.number().int(), tensor: z.string() })),
  /** node's attributes become these. */
  attributes: z.array(
    z.strictObject({ node: z.string(), attributes: z.record(z.string(), attributeSchema) }),
  ),
  addNodes: z.array(newNodeSchema),
  /** Extra graph outputs, float32 unless the tensor's type is known. */
  extraOutputs: z.array(z.string()),
});

export type NewNode = z.infer<typeof newNodeSchema>;
export type Rewrite = z.infer<typeof rewriteSchema>;
