import { readFile } from 'node:fs/promises';
import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../cli/base-command.js';
import type { Target } from '../../config/target.js';

export default class TargetShow extends BaseCommand {
  static override summary = 'print the profile of a device';
  static override description =
    'Prints the YAML text, to read or to start a profile of your own from; a file is checked before. With --json: its values.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> kirin9020',
    '<%= config.bin %> <%= command.id %> generic-npu > mine.yaml',
  ];
  static override args = {
    target: Args.string({ required: true, description: 'name (dopt target list) or YAML file' }),
  };

  async run(): Promise<{ file: string; target: Target }> {
    const { args } = await this.parse(TargetShow);
    const { findTarget, loadTarget } = await import('../../target/target-files.js');
    const file = findTarget(args.target);
    const target = loadTarget(args.target);
    this.log((await readFile(file, 'utf8')).trimEnd());
    return { file, target };
  }
}
