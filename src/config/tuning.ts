import { z } from 'zod';
import { numberSchema } from './common.js';

/** A comparison of settings of the engine (result.json, `tuning`): `--effort best` and `dopt tune`. */

/** What of the engine a comparison changes. */
export const engineSettingsSchema = z.strictObject({
  effort: z.enum(['fast', 'balanced', 'best']),
  calibration: z.enum(['auto', 'minmax', 'percentile', 'entropy', 'mse']),
  weightsGranularity: z.enum(['channel', 'tensor']),
  without: z
    .array(z.string())
    .describe('names of algorithms that the effort begins with and that are left out; of others that run'),
  with: z.array(z.string()),
});

/** Settings that were tried. */
export const tuningTrySchema = z.strictObject({
  settings: engineSettingsSchema,
  sqnr: numberSchema.describe(
    'on samples that neither calibrated nor score: signal over noise of the worst output, and what the metric lost',
  ),
  drop: z.number().nullable(),
  seconds: z.number(),
});

export const tuningSchema = z.strictObject({
  by: z.enum(['sqnr', 'metric']).describe('what decided'),
  metric: z
    .string()
    .nullable()
    .describe(
      "what `drop` is about: the metric, or 'same decision' where there are no labels for these samples",
    ),
  samples: z.number().int(),
  budget: z
    .number()
    .nullable()
    .describe('seconds that tries were given; null where their number is bounded only'),
  tries: z
    .array(tuningTrySchema)
    .min(1)
    .describe(
      'all tries in order; the model was written with the settings of the one at `chosen`, and all samples',
    ),
  chosen: z.number().int().nonnegative(),
});

export type EngineSettings = z.infer<typeof engineSettingsSchema>;
export type TuningTry = z.infer<typeof tuningTrySchema>;
export type Tuning = z.infer<typeof tuningSchema>;
