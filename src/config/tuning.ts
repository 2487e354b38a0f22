import { z } from 'zod';
import { numberSchema } from './common.js';

/** A comparison of settings of the engine (result.json, `tuning`): `--effort best` and `dopt tune`. */

/** What of the engine a comparison changes. */
export const engineSettingsSchema = z.strictObject({
  effort: z.enum(['fast', 'balanced', 'best']),
  calibration: z.enum(['auto', 'minmax', 'percentile', 'entropy', 'mse']),
  weightsGranularity: z.enum(['channel', 'tensor']),
  /** Names of algorithms that the effort begins with and that are left out; of others that run. */
  without: z.array(z.string()),
  with: z.array(z.string()),
});

/** Settings that were tried. */
export const tuningTrySchema = z.strictObject({
  settings: engineSettingsSchema,
  /** On samples that neither calibrated nor score: signal over noise of the worst output, and what the metric lost. */
  sqnr: numberSchema,
  drop: z.number().nullable(),
  seconds: z.number(),
});

export const tuningSchema = z.strictObject({
  /** What decided. */
  by: z.enum(['sqnr', 'metric']),
  /** What `drop` is about: the metric, or 'same decision' where there are no labels for these samples. */
  metric: z.string().nullable(),
  samples: z.number().int(),
  /** Seconds that tries were given; null where their number is bounded only. */
  budget: z.number().nullable(),
  /** All tries in order; the model was written with the settings of the one at `chosen`, and all samples. */
  tries: z.array(tuningTrySchema).min(1),
  chosen: z.number().int().nonnegative(),
});

export type EngineSettings = z.infer<typeof engineSettingsSchema>;
export type TuningTry = z.infer<typeof tuningTrySchema>;
export type Tuning = z.infer<typeof tuningSchema>;
