import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { decimal, metricFlag, pictureFlags, preprocessFrom, runtimeFlags } from '../cli/flags.js';
import type { Comparison } from '../config/result.js';

export default class Verify extends BaseCommand {
  static override summary = 'compare a quantized ONNX model with its float model';
  static override description =
    'Runs both models on the same samples in onnxruntime and prints the distance of their outputs, how often they ' +
    'decide alike, and with --labels the accuracy of both. With --min-sqnr or --max-drop it ends with exit code 7 when ' +
    'the quantized model is worse than that.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> net.onnx runs/net/net.int8.onnx --data val/ --resize 256 --crop 224',
    '<%= config.bin %> <%= command.id %> net.onnx runs/net/net.int8.onnx --data val/ --recipe mobilenet --labels val.txt --max-drop 1',
  ];
  static override args = {
    float: Args.string({ required: true, description: 'float ONNX file' }),
    quantized: Args.string({ required: true, description: 'quantized ONNX file' }),
  };
  static override flags = {
    data: Flags.string({
      required: true,
      description: 'samples: folder of pictures, .npy, .npz or .bin',
      helpGroup: 'DATA',
    }),
    labels: Flags.string({ description: 'labels of the samples', helpGroup: 'DATA' }),
    metric: metricFlag,
    samples: Flags.integer({ min: 1, description: 'samples at most (default: all)', helpGroup: 'DATA' }),
    'skip-bad': Flags.boolean({
      default: false,
      description: 'leave unreadable samples out instead of failing',
      helpGroup: 'DATA',
    }),
    ...pictureFlags,
    recipe: Flags.string({ description: 'preprocessing and metric of a model family, or of a YAML file' }),
    optimization: Flags.string({
      options: ['disabled', 'basic', 'all'],
      default: 'disabled',
      description:
        "onnxruntime's graph optimizations: disabled computes what the file says, all runs integer kernels",
    }),
    'min-sqnr': decimal({ description: 'least SQNR of the outputs, in dB' }),
    'max-drop': decimal({
      description: 'how much of the task metric may be lost, in points or its own unit',
    }),
    seed: Flags.integer({
      min: 0,
      default: 0,
      description: 'decides which samples are taken',
      helpGroup: 'RUN',
    }),
    ...runtimeFlags,
  };

  async run(): Promise<Comparison> {
    const { args, flags } = await this.parse(Verify);
    const { compareModels, requireQuality } = await import('../verify/compare.js');
    const { summarizeVerification } = await import('../verify/summary.js');
    const { chooseMetric } = await import('../verify/choose-metric.js');
    const recipe = flags.recipe ? await (await import('../config/recipe.js')).loadRecipe(flags.recipe) : null;
    const result = await compareModels(
      {
        float: resolve(args.float),
        quantized: resolve(args.quantized),
        data: resolve(flags.data),
        preprocess: preprocessFrom(flags, recipe?.preprocess),
        labels: flags.labels ? resolve(flags.labels) : null,
        metric: chooseMetric({ flag: flags.metric, recipe: recipe?.metric, labels: Boolean(flags.labels) }),
        samples: flags.samples ?? null,
        seed: flags.seed,
        skipBad: flags['skip-bad'],
        optimization: flags.optimization as 'disabled',
        threads: flags.threads ?? availableParallelism(),
        environment: flags.env as 'venv',
      },
      { progress: this.progressFor(flags), signal: this.signal },
    );
    this.log(summarizeVerification(result.verification));
    requireQuality(result, { minSqnr: flags['min-sqnr'] ?? null, maxDrop: flags['max-drop'] ?? null });
    return result;
  }
}
