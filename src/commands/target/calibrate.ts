import { resolve } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../cli/base-command.js';
import { modelFlags, runtimeFlags, targetFlag } from '../../cli/flags.js';
import { parseInputShapes } from '../../cli/parse.js';
import type { CalibrationResult } from '../../target/calibrate/calibrate.js';
import { PRECISION_NAMES, type Precision } from '../../target/precision.js';

export default class TargetCalibrate extends BaseCommand {
  static override summary = 'fit the profile of a device to measured times';
  static override description =
    'Takes a CSV of the columns model, dtype, ms (model: zoo:NAME or a model file), a summary of Vela, or operator times of ' +
    'the CANN profiler. One to seven networks give one scale, eight the six main parameters, fifty factors by operator on ' +
    'top. Every network is predicted by a fit to the others, too; a fit that predicts these worse than the profile is refused.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> --target kirin9020 --measurements phone.csv --out phone.yaml',
    '<%= config.bin %> cost net.onnx --target phone.yaml',
  ];
  static override flags = {
    target: targetFlag({ description: 'profile to start from (dopt target list), or the YAML file of one' }),
    measurements: Flags.string({ required: true, description: 'CSV of measured times' }),
    out: Flags.string({ required: true, description: 'profile to write, a YAML file' }),
    models: Flags.string({ description: 'folder of the models that the CSV names (default: its own)' }),
    dtype: Flags.string({
      options: [...PRECISION_NAMES],
      description: 'precision, where the CSV does not say it',
    }),
    fresh: Flags.boolean({ default: false, description: 'forget what was measured before' }),
    source: Flags.string({ description: 'where the measurements come from, for the profile' }),
    'input-shape': modelFlags['input-shape'],
    env: runtimeFlags.env,
  };

  async run(): Promise<CalibrationResult> {
    const { flags } = await this.parse(TargetCalibrate);
    const { calibrate } = await import('../../target/calibrate/calibrate.js');
    const { calibrationLines } = await import('../../target/calibrate/summary.js');
    const result = await calibrate({
      target: flags.target,
      measurements: resolve(flags.measurements),
      models: flags.models === undefined ? null : resolve(flags.models),
      precision: (flags.dtype ?? null) as Precision | null,
      fresh: flags.fresh,
      out: resolve(flags.out),
      source: flags.source ?? null,
      inputShapes: parseInputShapes(flags['input-shape']),
      environment: flags.env as 'venv',
      progress: this.progressFor(flags),
      signal: this.signal,
    });
    for (const line of calibrationLines(result)) this.log(line);
    return result;
  }
}
