import { z } from 'zod';
import { graphValueSchema } from './graph.js';

/** One size for both sides, or [height, width]. */
export const sizeSchema = z.union([
  z.number().int().positive(),
  z.tuple([z.number().int().positive(), z.number().int().positive()]),
]);

/**
 * How a picture becomes a tensor. Steps run in this order: EXIF rotation, resize or letterbox, crop, colour order,
 * (x − mean) / std on 0..255 values, layout. Arrays (`.npy`, `.npz`, `.bin`) are taken as they are.
 */
export const preprocessSchema = z.strictObject({
  color: z.enum(['rgb', 'bgr', 'gray']).default('rgb'),
  resize: sizeSchema
    .optional()
    .describe('A number resizes the shorter side to it and keeps the aspect; a pair resizes to exactly that'),
  letterbox: z
    .strictObject({
      size: sizeSchema,
      pad: z.number().min(0).max(255).default(114),
      align: z.enum(['top-left', 'center']).default('top-left'),
    })
    .optional()
    .describe('scales the picture to fit and pads the rest: `align` says where the picture sits'),
  crop: sizeSchema.optional().describe('centre crop'),
  interpolation: z.enum(['nearest', 'bilinear', 'bicubic']).default('bilinear'),
  mean: z.union([z.number(), z.array(z.number()).min(1)]).default(0),
  std: z.union([z.number().positive(), z.array(z.number().positive()).min(1)]).default(1),
  layout: z.enum(['nchw', 'nhwc']).default('nchw'),
});
export type Preprocess = z.infer<typeof preprocessSchema>;

/** What fills one input of the model; a folder of pictures is read without its sub-folders. */
export const dataPartSchema = z.strictObject({
  input: z.string().describe('name of the input'),
  path: z.string(),
  preprocess: preprocessSchema,
});
export type DataPart = z.infer<typeof dataPartSchema>;

/** Where samples come from; the same code reads them for calibration and for verification. */
export const dataSourceSchema = z.strictObject({
  path: z
    .string()
    .describe(
      'A folder of pictures, of `.npy`/`.npz` files, a single `.npy`/`.npz` of stacked samples, or a `.bin`',
    ),
  preprocess: preprocessSchema,
  inputs: z
    .array(graphValueSchema)
    .min(1)
    .describe("the model's inputs, in order: names, dtypes and shapes that samples must fit"),
  indices: z
    .array(z.number().int().nonnegative())
    .nullable()
    .describe('which samples, by index in the listing; null takes all'),
  skipBad: z
    .boolean()
    .describe('leave out unreadable samples and report them, instead of failing at the first'),
  parts: z
    .array(dataPartSchema)
    .min(1)
    .optional()
    .describe(
      'one source for each input, all with the same number of samples: sample i is the i-th of each. `path` then names the first and `preprocess` is not used',
    ),
});
export type DataSource = z.infer<typeof dataSourceSchema>;
