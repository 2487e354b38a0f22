import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { ENVIRONMENT_KINDS, PLUGIN_PROFILES, type PluginProfile } from '../../bridge/profiles.js';
import { BaseCommand } from '../../cli/base-command.js';
import type { PluginCheck as Checked } from '../../plugin/check.js';

export default class PluginCheck extends BaseCommand {
  static override summary = 'run a training project for a few steps and say what the plug-in captured';
  static override description =
    'Runs a Python program that uses dopt.torch, dopt.tf or the functions of the original until its quantized networks have been called a few ' +
    'times, then names every layer that is quantized and everything that stays in float, with the reason.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> train.py',
    '<%= config.bin %> <%= command.id %> train_keras.py --profile tensorflow',
    '<%= config.bin %> <%= command.id %> train.py --env system --steps 5 -- --epochs 1',
  ];
  static override strict = false;
  static override args = {
    script: Args.string({ required: true, description: 'Python file that trains or calibrates a network' }),
  };
  static override flags = {
    steps: Flags.integer({ min: 1, default: 2, description: 'calls of a quantized network to wait for' }),
    profile: Flags.string({
      options: [...PLUGIN_PROFILES],
      default: 'torch',
      description: 'packages that run the program',
      helpGroup: 'RUN',
    }),
    // The program reads and writes where it likes, and a container shows it nothing but what is named.
    env: Flags.string({
      options: ENVIRONMENT_KINDS.filter((kind) => kind !== 'docker'),
      default: 'venv',
      description: 'Python: an environment of ours, or the interpreter of DOPT_PYTHON / python3 as it is',
      helpGroup: 'RUN',
    }),
  };

  async run(): Promise<Checked> {
    const { args, argv, flags } = await this.parse(PluginCheck);
    const { checkProject, describeCheck } = await import('../../plugin/check.js');
    const result = await checkProject({
      script: resolve(args.script),
      arguments: (argv as string[]).slice(1),
      steps: flags.steps,
      profile: flags.profile as PluginProfile,
      environment: flags.env as 'venv',
      signal: this.signal,
    });
    this.log(describeCheck(result));
    return result;
  }
}
