import { z } from 'zod';
import { widthsSchema } from './common.js';

/**
 * quant_params.json: everything a device needs to run the network in integers; the open parameter file.
 *
 * real = scale · (integer − zero_point). Integers are rounded half to even and saturated to the type's range.
 */
export const quantParamSchema = z.strictObject({
  name: z.string().describe('tensor name in the quantized model, without any QDQ suffix'),
  kind: z.enum(['activation', 'weight', 'bias']),
  node: z.string().nullable().describe('operator that owns a weight or bias; producer of an activation'),
  bits: z.union([z.literal(4), z.literal(8), z.literal(16), z.literal(32)]),
  signed: z.boolean(),
  symmetric: z.boolean(),
  granularity: z.enum(['tensor', 'channel', 'group']),
  axis: z.number().int().nullable(),
  group_size: z
    .number()
    .int()
    .positive()
    .optional()
    .describe(
      'neighbours along the axis that share a scale; scales are in the order of outputs, then groups',
    ),
  scale: z.array(z.number().positive()).min(1),
  zero_point: z.array(z.number().int()).min(1),
  range_seen: z
    .tuple([z.number(), z.number()])
    .nullable()
    .describe('smallest and largest value met in calibration'),
  rule: z
    .string()
    .describe('what chose the parameters: minmax, percentile, entropy, mse, fixed, shared with X, …'),
});

export const quantParamsSchema = z.strictObject({
  $schema: z.string().optional(),
  version: z.literal(1),
  model: z.string(),
  strategy: widthsSchema.describe('widths of most layers: activations, weights'),
  target: z.string(),
  tensors: z.array(quantParamSchema),
  float_nodes: z.array(z.strictObject({ node: z.string(), op: z.string(), reason: z.string() })),
});

export type QuantParam = z.infer<typeof quantParamSchema>;
export type QuantParams = z.infer<typeof quantParamsSchema>;
