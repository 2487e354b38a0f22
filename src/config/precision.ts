import { z } from 'zod';
import { numberSchema } from './common.js';

/** The search for the fewest tensors that must be wider than 8 bits (result.json, `precision`). */

/** What a model was asked to reach. */
export const goalSchema = z.discriminatedUnion('kind', [
  /** Least signal over noise of every output, in dB. */
  z.strictObject({ kind: z.literal('sqnr'), value: z.number() }),
  /** Most that the task metric may lose, in its unit. */
  z.strictObject({ kind: z.literal('drop'), value: z.number().nonnegative() }),
]);

/** One model that was tried. */
export const trySchema = z.strictObject({
  int16: z
    .array(z.string())
    .describe('tensors that carry 16 bits, and those that stay float with the layers that read them'),
  float: z.array(z.string()),
  sqnr: numberSchema.describe(
    'on samples that neither calibrated nor score: signal over noise of the worst output, and what the metric lost',
  ),
  drop: z.number().nullable(),
  cost: z.number(),
});

export const precisionSearchSchema = z.strictObject({
  goal: goalSchema,
  metric: z
    .string()
    .nullable()
    .describe(
      "what `drop` is about: the metric, or 'same decision' where there are no labels for these samples",
    ),
  reached: z.boolean().describe('whether the goal was reached on the samples that the search decided by'),
  samples: z.number().int(),
  costUnit: z.enum(['seconds', 'relative']),
  tries: z
    .array(trySchema)
    .min(1)
    .describe('all tries in order; the model that was written is the one at `chosen`'),
  chosen: z.number().int().nonnegative(),
});

export type Goal = z.infer<typeof goalSchema>;
export type PrecisionTry = z.infer<typeof trySchema>;
export type PrecisionSearch = z.infer<typeof precisionSearchSchema>;
