import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { runtimeFlags } from '../cli/flags.js';
import { parseInputShapes, parseList } from '../cli/parse.js';
import type { Inspection } from '../quantize/inspect.js';
import { DEFAULT_TARGET, TARGETS } from '../target/profiles.js';

export default class Inspect extends BaseCommand {
  static override summary = 'show what is in a model, what would be quantized and what would stay float';
  static override examples = ['<%= config.bin %> <%= command.id %> net.onnx --target generic-npu'];
  static override args = { model: Args.string({ required: true, description: 'ONNX file' }) };
  static override flags = {
    target: Flags.string({ options: [...TARGETS], default: DEFAULT_TARGET, description: 'device' }),
    exclude: Flags.string({ multiple: true, description: 'as for quantize' }),
    'input-shape': Flags.string({ description: 'fixed input shapes, "x:1,3,224,224"' }),
    'float16-to-float32': Flags.boolean({ default: false, description: 'convert a float16 model first' }),
    env: runtimeFlags.env,
  };

  async run(): Promise<Inspection> {
    const { args, flags } = await this.parse(Inspect);
    const { inspectModel, describe } = await import('../quantize/inspect.js');
    const inspection = await inspectModel({
      model: resolve(args.model),
      target: flags.target,
      exclude: parseList(flags.exclude),
      inputShapes: parseInputShapes(flags['input-shape']),
      float16ToFloat32: flags['float16-to-float32'],
      environment: flags.env as 'venv',
      progress: this.progressFor(flags),
      signal: this.signal,
    });
    this.log(describe(inspection));
    return inspection;
  }
}
