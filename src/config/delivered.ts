import { z } from 'zod';

/** delivered.json in the run folder of `dopt compat`: the files that it wrote outside, so that it may write them again. */
export const deliveredSchema = z.strictObject({
  version: z.literal(1),
  files: z.array(z.strictObject({ path: z.string(), bytes: z.number(), sha256: z.string() })),
});
export type Delivered = z.infer<typeof deliveredSchema>;
