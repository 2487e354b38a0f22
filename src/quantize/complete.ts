import type { RunResult } from '../config/result.js';
import type { Tuning } from '../config/tuning.js';
import type { NativeCore } from '../native/index.js';
import type { StageContext } from './context.js';
import { equalize } from './equalize/equalize.js';
import { finishRun } from './finish.js';
import { type OpenedModel, preparedWith } from './open.js';
import type { QuantizeOptions } from './options.js';
import { calibrate, quantizePlan } from './pass.js';

/** Options that nothing is left to decide of, and what decided. */
export interface Settled {
  options: QuantizeOptions;
  tuning: Tuning | null;
}

/** Of the whole run. */
export interface RunHeader {
  /** `performance.now()` at its beginning. */
  started: number;
  command: readonly string[];
}

/**
 * The rest of a run whose settings are decided: equalizes and calibrates with all samples, those that decided included,
 * quantizes, scores and reports. Rejects as its stages do.
 */
export async function completeRun(
  context: StageContext,
  core: NativeCore,
  opened: OpenedModel,
  { options, tuning }: Settled,
  header: RunHeader,
): Promise<RunResult> {
  const { options: _, plan: __, ...captured } = opened.prepared;
  const settled = await equalize(context, core, {
    ...opened,
    prepared: preparedWith(captured, options),
    sets: { ...opened.sets, calibration: opened.sets.whole },
  });
  const calibrated = await calibrate(context, settled.prepared, settled.sets.calibration);
  const quantized = await quantizePlan(context, core, settled.prepared, calibrated);
  return finishRun(context, core, {
    opened: settled,
    calibrated,
    quantized,
    search: null,
    tuning,
    ...header,
  });
}
