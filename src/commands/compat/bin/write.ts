import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../../cli/base-command.js';
import { pictureFlags, preprocessFrom, runtimeFlags } from '../../../cli/flags.js';
import type { BinContent } from '../../../compat/bin.js';

export default class CompatBinWrite extends BaseCommand {
  static override summary = 'write a calibration file of the original tool';
  static override description =
    'From .npy files (joined along their first dimension) or a folder of pictures (one sample each). Kind 510 has four ' +
    'dimensions, samples, channels, height and width; kind 610 has any, and is taken by models as it is.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> --format 610 --out samples.bin sample-1.npy sample-2.npy',
    '<%= config.bin %> <%= command.id %> --format 510 --out pictures.bin pictures/ --resize 224x224 --color bgr',
  ];
  static override strict = false;
  static override args = {
    inputs: Args.string({ required: true, description: '.npy files, or a folder of pictures' }),
  };
  static override flags = {
    format: Flags.string({ options: ['510', '610'], required: true, description: 'kind of the file' }),
    out: Flags.string({ required: true, description: 'file to write' }),
    overwrite: Flags.boolean({ default: false, description: 'replace the file' }),
    ...pictureFlags,
    ...runtimeFlags,
  };

  async run(): Promise<BinContent> {
    const { argv, flags } = await this.parse(CompatBinWrite);
    const { describeBin, writeBin } = await import('../../../compat/bin.js');
    const content = await writeBin({
      format: Number(flags.format) as 510,
      out: resolve(flags.out),
      inputs: (argv as string[]).map((path) => resolve(path)),
      preprocess: preprocessFrom(flags),
      overwrite: flags.overwrite,
      environment: flags.env as 'venv',
      threads: flags.threads ?? availableParallelism(),
      signal: this.signal,
    });
    this.log(describeBin(content));
    return content;
  }
}
