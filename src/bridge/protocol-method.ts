import { z } from 'zod';

/** One method of the protocol: what goes in, what comes back. */
export interface Method<P extends z.ZodType, R extends z.ZodType> {
  params: P;
  result: R;
}

export const method = <P extends z.ZodType, R extends z.ZodType>(params: P, result: R): Method<P, R> => ({
  params,
  result,
});

/** A file that was written or read. */
export const fileSchema = z.strictObject({ path: z.string(), bytes: z.number(), sha256: z.string() });

/** Arrays in files: raw little-endian row-major elements, by tensor name. */
export const arrayFilesSchema = z.record(
  z.string(),
  z.strictObject({ path: z.string(), dtype: z.string(), shape: z.array(z.number().int()) }),
);
