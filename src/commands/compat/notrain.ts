import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { TORCH_PROFILES, type TorchProfile } from '../../bridge/profiles.js';
import { BaseCommand } from '../../cli/base-command.js';
import { runtimeFlags } from '../../cli/flags.js';
import { parseList, parseNamedShapes } from '../../cli/parse.js';
import type { NotrainResult } from '../../compat/notrain.js';

const path = (description: string, required = true) =>
  Flags.string({ required, description, parse: async (value) => resolve(value) });

export default class CompatNotrain extends BaseCommand {
  static override summary = 'quantize with the flags and files of dopt_so.py';
  static override description =
    'Takes the command line of the original tool unchanged: config.prototxt, picture folders and 510/610 bins. Writes ' +
    'the model in its own format to --output, its parameters (JSON) to --compress_conf, and the report with all that ' +
    'was measured into the folder OUTPUT.dopt. Relative paths start at the current folder.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> -m 0 --framework 5 --model net.onnx --cal_conf config.prototxt --output net_quant.onnx --input_shape "image:1,3,224,224" --compress_conf net_param',
    '<%= config.bin %> <%= command.id %> -m 0 --framework 3 --model net.pb --cal_conf config.prototxt --output net_quant.pb --input_format NHWC --input_shape "input:1,224,224,3" --out_nodes "logits" --compress_conf net_param',
  ];
  static override flags = {
    mode: Flags.integer({ char: 'm', required: true, description: '0: quantization without training' }),
    framework: Flags.integer({ required: true, description: '3: TensorFlow; 5: PyTorch (.py) or ONNX' }),
    model: path('.pb, .py or .onnx'),
    weight: path('PyTorch: .pth beside the .py', false),
    class: Flags.string({
      description: 'not of the original: class or function in the .py, when it has several',
    }),
    profile: Flags.string({
      options: [...TORCH_PROFILES],
      description: 'not of the original: PyTorch 1.11 (torch, the default) or 2.13 (current)',
    }),
    cal_conf: path('config.prototxt'),
    output: path('model to write'),
    compress_conf: path('parameter file to write'),
    input_format: Flags.string({
      options: ['NCHW', 'NHWC'],
      description: 'order of the dimensions (default: NHWC for TensorFlow, else NCHW)',
    }),
    input_shape: Flags.string({ required: true, description: '"a:n,c,h,w;b:…"' }),
    out_nodes: Flags.string({ description: '"n1;n2" (default: the outputs of the model)' }),
    device_idx: Flags.integer({ min: 0, description: 'accepted; calibration runs on the processor' }),
    overwrite: Flags.boolean({
      default: false,
      description: 'replace files at --output and --compress_conf that dopt did not write',
    }),
    ...runtimeFlags,
  };

  async run(): Promise<NotrainResult> {
    const { flags } = await this.parse(CompatNotrain);
    const { quantizeNotrain } = await import('../../compat/notrain.js');
    const { summarize } = await import('../../quantize/summary.js');
    const outNodes = parseList(flags.out_nodes === undefined ? [] : [flags.out_nodes]);
    const done = await quantizeNotrain(
      {
        mode: flags.mode,
        framework: flags.framework,
        model: flags.model!,
        weight: flags.weight ?? null,
        className: flags.class ?? null,
        profile: (flags.profile as TorchProfile | undefined) ?? null,
        calConf: flags.cal_conf!,
        output: flags.output!,
        compressConf: flags.compress_conf!,
        inputFormat: flags.input_format === undefined ? null : (flags.input_format.toLowerCase() as 'nchw'),
        inputShape: parseNamedShapes('--input_shape', flags.input_shape),
        outNodes: outNodes.length > 0 ? outNodes : null,
        deviceIdx: flags.device_idx ?? null,
        overwrite: flags.overwrite,
        environment: flags.env as 'venv',
        threads: flags.threads ?? availableParallelism(),
      },
      {
        progress: this.progressFor(flags),
        signal: this.signal,
        command: ['dopt', 'compat', 'notrain', ...this.argv],
      },
    );
    this.log(summarize(done.result, done.run));
    for (const { path: file } of done.files) this.log(file);
    this.log('The model was quantized successfully.');
    return done;
  }
}
