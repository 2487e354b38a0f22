import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { modelFlags, modelFrom, runtimeFlags, targetFlag } from '../cli/flags.js';
import { parseList } from '../cli/parse.js';
import type { Inspection } from '../quantize/inspect.js';
import { STRATEGIES, type Strategy } from '../quantize/options.js';

export default class Inspect extends BaseCommand {
  static override summary = 'show what is in a model, what would be quantized and what would stay float';
  static override examples = ['<%= config.bin %> <%= command.id %> net.onnx --target generic-npu'];
  static override args = {
    model: Args.string({ required: true, description: 'model file, as for quantize' }),
  };
  static override flags = {
    target: targetFlag({ description: 'device (dopt target list), or the YAML file of one' }),
    exclude: Flags.string({ multiple: true, description: 'as for quantize' }),
    int16: Flags.string({ multiple: true, description: 'as for quantize' }),
    strategy: Flags.string({
      options: [...STRATEGIES],
      default: STRATEGIES[0],
      description: 'as for quantize',
    }),
    ...modelFlags,
    'float16-to-float32': Flags.boolean({ default: false, description: 'convert a float16 model first' }),
    env: runtimeFlags.env,
  };

  async run(): Promise<Inspection> {
    const { args, flags } = await this.parse(Inspect);
    const { inspectModel, describe } = await import('../quantize/inspect.js');
    const inspection = await inspectModel({
      ...modelFrom(args.model, flags),
      strategy: flags.strategy as Strategy,
      target: flags.target,
      exclude: parseList(flags.exclude),
      int16: parseList(flags.int16),
      float16ToFloat32: flags['float16-to-float32'],
      environment: flags.env as 'venv',
      progress: this.progressFor(flags),
      signal: this.signal,
    });
    this.log(describe(inspection));
    return inspection;
  }
}
