import { z } from 'zod';

/** Element types that cross the Python border, by their numpy names. */
export const dtypeSchema = z.enum([
  'float32',
  'float16',
  'bfloat16',
  'float64',
  'int8',
  'uint8',
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'bool',
  'string',
  'complex64',
  'complex128',
  'unknown',
]);
export type Dtype = z.infer<typeof dtypeSchema>;

/** A number, or the words JSON has no number for. */
export const numberSchema = z.union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity'])]);
export type JsonNumber = z.infer<typeof numberSchema>;

/** A JSON number or its word as a JavaScript number. */
export const toNumber = (value: JsonNumber): number => Number(value);

/** One dimension: a size, a symbolic name, or null where nothing is known. */
export const dimSchema = z.union([z.number().int(), z.string(), z.null()]);
export type Dim = z.infer<typeof dimSchema>;

/** Widths of a quantization, activations before weights. Of a network only the training plug-in makes 4-bit weights. */
export const widthsSchema = z.enum(['int8-8', 'int16-8', 'int8-4', 'int16-4']);
