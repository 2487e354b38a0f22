import { join } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { parseDuration } from '../cli/parse.js';
import { quantizeFlags, quantizeOptions, TUNING_SAMPLES } from '../cli/quantize-flags.js';
import type { RunResult } from '../config/result.js';

const { effort: _, with: __, 'target-sqnr': ___, 'max-drop': ____, ...flags } = quantizeFlags;

export default class Tune extends BaseCommand {
  static override summary = 'find the settings of the engine that suit a model best';
  static override description =
    'Tries efforts, calibrations, algorithms and granularities within a budget of time, judged on samples that neither ' +
    'calibrate nor score, and quantizes with the best. Writes the files of quantize, and recipe.yaml, with which ' +
    '`quantize --recipe` makes the same model. A run that was interrupted continues with --resume.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> net.onnx --recipe mobilenet --data pictures/ --budget 10m --out runs/tuned',
    '<%= config.bin %> <%= command.id %> net.onnx --data train/ --verify-data val/ --labels val.txt --metric my_metric.py --budget 1h --out runs/tuned',
  ];
  static override args = { model: Args.string({ required: true, description: 'as for quantize' }) };
  static override flags = {
    ...flags,
    budget: Flags.string({
      default: '10m',
      description: 'time for tries: 90s, 10m, 1h; the best ones first',
      helpGroup: 'RUN',
    }),
    tries: Flags.integer({ min: 1, description: 'tries at most', helpGroup: 'RUN' }),
  };

  async run(): Promise<RunResult> {
    const { args, flags } = await this.parse(Tune);
    const budget = parseDuration('--budget', flags.budget);
    const { tune } = await import('../tune/tune.js');
    const { summarize } = await import('../quantize/summary.js');
    const { RECIPE } = await import('../tune/recipe.js');
    const none = { effort: undefined, with: undefined, 'target-sqnr': undefined, 'max-drop': undefined };
    const options = await quantizeOptions(args.model, { ...flags, ...none });
    const result = await tune(
      {
        quantize: { ...options, tuningSamples: TUNING_SAMPLES },
        by: flags.metric === undefined ? 'sqnr' : 'metric',
        budget,
        tries: flags.tries ?? null,
      },
      { progress: this.progressFor(flags), signal: this.signal, command: ['dopt', 'tune', ...this.argv] },
    );
    this.log(summarize(result, flags.out));
    this.log(
      `\nThe same model again: dopt quantize with --recipe ${join(flags.out, RECIPE)} and the other flags as here.`,
    );
    return result;
  }
}
