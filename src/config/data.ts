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
  /** A number resizes the shorter side to it and keeps the aspect; a pair resizes to exactly that. */
  resize: sizeSchema.optional(),
  /** Scales the picture to fit and pads the rest: `align` says where the picture sits. */
  letterbox: z
    .strictObject({
      size: sizeSchema,
      pad: z.number().min(0).max(255).default(114),
      align: z.enum(['top-left', 'center']).default('top-left'),
    })
    .optional(),
  /** Centre crop. */
  crop: sizeSchema.optional(),
  interpolation: z.enum(['nearest', 'bilinear', 'bicubic']).default('bilinear'),
  mean: z.union([z.number(), z.array(z.number()).min(1)]).default(0),
  std: z.union([z.number().positive(), z.array(z.number().positive()).min(1)]).default(1),
  layout: z.enum(['nchw', 'nhwc']).default('nchw'),
});
export type Preprocess = z.infer<typeof preprocessSchema>;

/** What fills one input of the model; a folder of pictures is read without its sub-folders. */
export const dataPartSchema = z.strictObject({
  /** Name of the input. */
  input: z.string(),
  path: z.string(),
  preprocess: preprocessSchema,
});
export type DataPart = z.infer<typeof dataPartSchema>;

/** Where samples come from; the same code reads them for calibration and for verification. */
export const dataSourceSchema = z.strictObject({
  /** A folder of pictures, of `.npy`/`.npz` files, a single `.npy`/`.npz` of stacked samples, or a `.bin`. */
  path: z.string(),
  preprocess: preprocessSchema,
  /** The model's inputs, in order: names, dtypes and shapes that samples must fit. */
  inputs: z.array(graphValueSchema).min(1),
  /** Which samples, by index in the listing; null takes all. */
  indices: z.array(z.number().int().nonnegative()).nullable(),
  /** Leave out unreadable samples and report them, instead of failing at the first. */
  skipBad: z.boolean(),
  /**
   * One source for each input, all with the same number of samples: sample i is the i-th of each. `path` then names the
   * first and `preprocess` is not used.
   */
  parts: z.array(dataPartSchema).min(1).optional(),
});
export type DataSource = z.infer<typeof dataSourceSchema>;
