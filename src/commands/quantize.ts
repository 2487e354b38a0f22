import * as Args from '@oclif/core/args';
import { BaseCommand } from '../cli/base-command.js';
import { quantizeFlags, quantizeOptions } from '../cli/quantize-flags.js';
import type { RunResult } from '../config/result.js';
import { EXIT } from '../errors.js';

export default class Quantize extends BaseCommand {
  static override summary = 'quantize a model to INT8, without training';
  static override description =
    'Calibrates on sample data, refines the result layer by layer, checks it on samples that were kept apart, and ' +
    'writes a QDQ ONNX model, its parameters (quant_params.json) and report.html into a run folder. Models of TensorFlow ' +
    'and PyTorch come back in their own format too.';
  static override examples = [
    '<%= config.bin %> quantize net.onnx --data pictures/ --resize 256 --crop 224 --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4 --out runs/onnx',
    '<%= config.bin %> quantize net.onnx --recipe mobilenet --data train/ --verify-data val/ --labels val.txt --out runs/labelled',
    '<%= config.bin %> quantize net.pb --data pictures/ --resize 224x224 --mean 127.5 --std 127.5 --out runs/tensorflow',
    '<%= config.bin %> quantize net.py --weights net.pth --input-shape "x:1,3,224,224" --data pictures/ --recipe resnet --out runs/pytorch',
  ];
  static override args = {
    model: Args.string({
      required: true,
      description: 'ONNX file; TensorFlow .pb, .h5 or SavedModel; PyTorch .py or TorchScript',
    }),
  };
  static override flags = quantizeFlags;

  async run(): Promise<RunResult> {
    const { args, flags } = await this.parse(Quantize);
    const { quantize } = await import('../quantize/quantize.js');
    const { summarize } = await import('../quantize/summary.js');
    const result = await quantize(await quantizeOptions(args.model, flags), {
      progress: this.progressFor(flags),
      signal: this.signal,
      command: ['dopt', 'quantize', ...this.argv],
    });
    this.log(summarize(result, flags.out));
    const { requireGoal } = await import('../precision/goal.js');
    requireGoal(result.precision, EXIT.verification);
    return result;
  }
}
