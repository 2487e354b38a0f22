import type { RunResult } from '../config/result.js';
import type { Tuning } from '../config/tuning.js';
import { completeRun } from '../quantize/complete.js';
import { inRun, type QuantizeContext } from '../quantize/in-run.js';
import { openModel } from '../quantize/open.js';
import type { QuantizeOptions } from '../quantize/options.js';
import { descend } from './descend.js';
import { RECIPE, recipeText } from './recipe.js';
import { changesFor, settingsOf, withSettings } from './settings.js';
import { type Bounds, Tries } from './tries.js';

/** What `dopt tune` is asked for. */
export interface TuneOptions extends Bounds {
  /** Where it begins; `tuningSamples` says how many samples decide. */
  quantize: QuantizeOptions;
  by: Tuning['by'];
}

/**
 * Looks for the settings of the engine that suit a model best, within a budget of time, and quantizes with them. Settings
 * are judged on samples that neither calibrate nor score; at the end those calibrate, too. The best model so far always
 * lies in the run folder under its final name, at the end with a recipe that makes it again.
 *
 * Rejects as `quantize` does; after an error or a kill the folder can be resumed.
 */
export function tune(
  { quantize: options, by, ...bounds }: TuneOptions,
  context: QuantizeContext = {},
): Promise<RunResult> {
  return inRun(options, context, async (stages, core) => {
    const started = performance.now();
    const opened = await openModel(stages, options);
    const tries = await Tries.open(stages, core, opened, by, bounds);
    const settings = await descend(
      settingsOf(options),
      changesFor(options),
      (asked) => tries.evaluate(asked),
      (a, b) => tries.better(a, b),
    );
    const settled = { options: withSettings(options, settings), tuning: tries.summary(settings) };
    await stages.run.write(RECIPE, recipeText(opened.prepared.name, settled.options));
    return completeRun(stages, core, opened, settled, { started, command: context.command ?? [] });
  });
}
