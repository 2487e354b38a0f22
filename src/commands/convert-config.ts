import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { parseNamedShapes } from '../cli/parse.js';
import type { ConvertedConfig } from '../compat/convert-config.js';

export default class ConvertConfig extends BaseCommand {
  static override summary = 'turn a config.prototxt into a recipe';
  static override description =
    'Writes what the file says as a YAML recipe, names what a recipe cannot say, and prints the command that does what ' +
    'the old one did.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> config.prototxt --framework 5 --input-shape "image:1,3,224,224" --out recipe.yaml',
  ];
  static override args = { config: Args.string({ required: true, description: 'config.prototxt' }) };
  static override flags = {
    framework: Flags.string({ options: ['3', '5'], description: '3: TensorFlow (NHWC); 5: PyTorch or ONNX' }),
    'input-format': Flags.string({
      options: ['NCHW', 'NHWC'],
      aliases: ['input_format'],
      description: 'order of the dimensions (default: that of the framework)',
    }),
    'input-shape': Flags.string({
      aliases: ['input_shape'],
      description: 'the old command had it: gives the size of the pictures',
    }),
    out: Flags.string({ required: true, description: 'recipe to write (.yaml)' }),
  };

  async run(): Promise<ConvertedConfig> {
    const { args, flags } = await this.parse(ConvertConfig);
    const { convertConfig } = await import('../compat/convert-config.js');
    const layout = flags['input-format'] ?? (flags.framework === '3' ? 'NHWC' : 'NCHW');
    const shapes = flags['input-shape'];
    const converted = await convertConfig({
      config: resolve(args.config),
      out: resolve(flags.out),
      layout: layout.toLowerCase() as 'nchw',
      inputShape: shapes === undefined ? [] : parseNamedShapes('--input_shape', shapes),
    });
    this.log(converted.out);
    for (const note of converted.notes) this.log(`  ${note}`);
    this.log(converted.command.map((word) => (/[\s;]/.test(word) ? `"${word}"` : word)).join(' '));
    return converted;
  }
}
