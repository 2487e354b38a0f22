import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { modelFlags, modelFrom, runtimeFlags, targetFlag } from '../cli/flags.js';
import { parsePrecisions, parseTargets } from '../cli/parse.js';
import type { CostResult } from '../config/cost.js';
import { isZooName } from '../target/names.js';

export default class Cost extends BaseCommand {
  static override summary = 'predict latency, memory and energy of a model on a device';
  static override description =
    'Before or without quantization: what float, INT8, INT16 and 4-bit versions take, which kernels cost it, what limits ' +
    'them, and what to change. Times come with the range that 90 % of such predictions lie in. zoo:NAME stands for a ' +
    'well-known network (dopt target zoo), zoo:NAME@SIZE for one that takes any picture. The graph of a model is kept, so that a second look takes no Python.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> net.onnx --target kirin9020',
    '<%= config.bin %> <%= command.id %> net.onnx --target kirin9020 --precision fp16,int8 --compare kirin9000,ethos-u65-256',
    '<%= config.bin %> <%= command.id %> zoo:mobilenet-v2 --target kirin9000 --html cost.html --csv layers.csv',
  ];
  static override args = {
    model: Args.string({
      required: true,
      description: 'model file as for quantize, graph.json, or zoo:NAME',
    }),
  };
  static override flags = {
    target: targetFlag({ description: 'device (dopt target list), or the YAML file of one' }),
    compare: Flags.string({ description: 'other devices, separated by commas' }),
    precision: Flags.string({
      description:
        'fp32, fp16, int8, int16, int4, separated by commas (default: all that the device computes in)',
    }),
    layers: Flags.integer({ min: 0, default: 12, description: 'kernels that are listed' }),
    html: Flags.string({ description: 'report to write, with a roofline and all kernels' }),
    csv: Flags.string({ description: 'table of all kernels to write' }),
    ...modelFlags,
    env: runtimeFlags.env,
  };

  async run(): Promise<CostResult> {
    const { args, flags } = await this.parse(Cost);
    const { costOfModel } = await import('../target/cost.js');
    const { costLines } = await import('../report/cost/lines.js');
    const { refuseExisting, writeCost } = await import('../report/cost/output.js');
    const path = (file: string | undefined): string | null => (file === undefined ? null : resolve(file));
    const files = { html: path(flags.html), csv: path(flags.csv) };
    refuseExisting(files);
    const result = await costOfModel({
      ...modelFrom(args.model, flags),
      model: isZooName(args.model) ? args.model : resolve(args.model),
      targets: [flags.target, ...parseTargets(flags.compare)],
      precisions: parsePrecisions(flags.precision),
      float16ToFloat32: true,
      environment: flags.env as 'venv',
      progress: this.progressFor(flags),
      signal: this.signal,
    });
    await writeCost(result, files);
    for (const line of costLines(result, flags.layers)) this.log(line);
    return result;
  }
}
