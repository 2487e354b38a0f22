import type { RunResult } from '../config/result.js';
import { widenToGoal } from '../precision/widen.js';
import { keepWhatHelps } from '../tune/best.js';
import { completeRun } from './complete.js';
import { equalize } from './equalize/equalize.js';
import { finishRun } from './finish.js';
import { inRun, type QuantizeContext } from './in-run.js';
import { openModel } from './open.js';
import type { QuantizeOptions } from './options.js';
import { calibrate } from './pass.js';

export type { QuantizeContext } from './in-run.js';

/**
 * Quantizes a model: capture, plan, equalize, calibrate, refine, apply, verify, report. Each stage leaves its files in the run
 * folder and is not repeated with `resume`.
 *
 * Rejects with one of the four kinds of src/errors.ts; nothing half-written ever has a final name.
 */
export function quantize(options: QuantizeOptions, context: QuantizeContext = {}): Promise<RunResult> {
  return inRun(options, context, async (stages, core) => {
    const started = performance.now();
    const opened = await openModel(stages, options.goal ? everyWidthSearched(options) : options);
    const header = { started, command: context.command ?? [] };
    if (options.goal) {
      const equalized = await equalize(stages, core, opened);
      const calibrated = await calibrate(stages, equalized.prepared, equalized.sets.calibration);
      const found = await widenToGoal(stages, core, equalized, calibrated, options.goal);
      return finishRun(stages, core, { opened: equalized, calibrated, ...found, tuning: null, ...header });
    }
    const settled = options.compared?.length
      ? await keepWhatHelps(stages, core, opened)
      : { options, tuning: null };
    return completeRun(stages, core, opened, settled, header);
  });
}

/** Options for a search of widths: it finds out by itself whether an input of the network must be wider. */
const everyWidthSearched = (options: QuantizeOptions): QuantizeOptions => ({
  ...options,
  engine: { ...options.engine, wideInputs: false },
});
