import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../../cli/base-command.js';
import type { BinContent } from '../../../compat/bin.js';

export default class CompatBinShow extends BaseCommand {
  static override summary = 'say what a calibration file of the original tool holds';
  static override description = 'Prints kind, shape, size, and the smallest, largest and mean value.';
  static override examples = ['<%= config.bin %> <%= command.id %> samples.bin'];
  static override args = { file: Args.string({ required: true, description: 'bin file, kind 510 or 610' }) };

  async run(): Promise<BinContent> {
    const { args } = await this.parse(CompatBinShow);
    const { describeBin, readBin } = await import('../../../compat/bin.js');
    const content = await readBin(resolve(args.file));
    this.log(describeBin(content));
    return content;
  }
}
