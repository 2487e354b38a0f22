import type { NativeCore } from '../native/index.js';
import type { Settled } from '../quantize/complete.js';
import type { StageContext } from '../quantize/context.js';
import type { OpenedModel } from '../quantize/open.js';
import { descend } from './descend.js';
import { settingsOf, toggled, withSettings } from './settings.js';
import { Tries } from './tries.js';

/**
 * `--effort best`: keeps those of the compared algorithms that help on samples kept back, one after the other. Where none
 * does, what is left is `balanced`, to the byte.
 */
export async function keepWhatHelps(
  context: StageContext,
  core: NativeCore,
  opened: OpenedModel,
): Promise<Settled> {
  const { options } = opened.prepared;
  const changes = options.compared!.map(toggled);
  const tries = await Tries.open(context, core, opened, 'sqnr', { budget: null, tries: changes.length + 1 });
  const settings = await descend(
    settingsOf(options),
    changes,
    (asked) => tries.evaluate(asked),
    (a, b) => tries.better(a, b),
    1,
  );
  return { options: withSettings(options, settings), tuning: tries.summary(settings) };
}
