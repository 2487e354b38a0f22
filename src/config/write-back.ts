import { z } from 'zod';

/**
 * write-back.json: what quantization changed, told in the names of graph.json, for carrying it into the model's own
 * framework. The numbers lie in a safetensors file beside it, by layer and tensor name:
 *
 * - `LAYER/weight/integers` int8, in the shape of the ONNX initializer, batch normalization folded in;
 *   `LAYER/weight/scale` float32 [output channels] or [1]; weight = integers · scale;
 * - `LAYER/bias` float32 [output channels]: the folded and corrected bias, on the grid of its int32 form;
 * - `TENSOR/scale` float32 and `TENSOR/zero_point` int32, [1] or [channels].
 */
export const writeBackLayerSchema = z.strictObject({
  /** Conv, ConvTranspose, Gemm or MatMul node. */
  name: z.string(),
  op: z.string(),
  /** Initializer with the float weight, and which input of the node it is. */
  weight: z.string(),
  weightIndex: z.number().int(),
  /** Output-channel axis of the weight as stored; null: one scale for the whole tensor. */
  axis: z.number().int().nullable(),
  groups: z.number().int().positive(),
  /** Tensor that the layer reads, and the one that ends it: behind its batch normalization or its bias Add. */
  input: z.string(),
  output: z.string(),
  /** Batch normalization that was folded in: its node and the initializers gamma, beta, mean, variance. */
  batchNorm: z
    .strictObject({
      node: z.string(),
      gamma: z.string(),
      beta: z.string(),
      mean: z.string(),
      variance: z.string(),
      epsilon: z.number(),
    })
    .nullable(),
  /** Where the bias is read, the layer itself or an Add behind it; null when the layer has none and takes none. */
  bias: z.strictObject({ node: z.string(), index: z.number().int() }).nullable(),
});

export const writeBackActivationSchema = z.strictObject({
  tensor: z.string(),
  bits: z.union([z.literal(8), z.literal(16)]),
  signed: z.boolean(),
  /** Axis of a scale a channel; null: one scale. */
  axis: z.number().int().nullable(),
  /** The node inputs that read the rounded value; others read the tensor itself. */
  readers: z.array(z.strictObject({ node: z.string(), index: z.number().int() })),
});

export const writeBackSchema = z.strictObject({
  version: z.literal(1),
  layers: z.array(writeBackLayerSchema),
  activations: z.array(writeBackActivationSchema),
});

export type WriteBack = z.infer<typeof writeBackSchema>;
