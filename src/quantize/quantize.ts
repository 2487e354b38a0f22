import type { RunResult } from '../config/result.js';
import { widenToGoal } from '../precision/widen.js';
import { equalize } from './equalize/equalize.js';
import { finishRun } from './finish.js';
import { inRun, type QuantizeContext } from './in-run.js';
import { openModel } from './open.js';
import type { QuantizeOptions } from './options.js';
import { calibrate, quantizePlan } from './pass.js';

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
    const opened = await equalize(stages, core, await openModel(stages, options));
    const calibrated = await calibrate(stages, opened.prepared, opened.sets.calibration);
    const { quantized, search } = options.goal
      ? await widenToGoal(stages, core, opened, calibrated, options.goal)
      : { quantized: await quantizePlan(stages, core, opened.prepared, calibrated), search: null };
    const command = context.command ?? [];
    return finishRun(stages, core, { opened, calibrated, quantized, search, started, command });
  });
}
