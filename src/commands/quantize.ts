import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import {
  layoutOf,
  metricFlag,
  modelFlags,
  modelFrom,
  pictureFlags,
  preprocessFrom,
  runtimeFlags,
} from '../cli/flags.js';
import { parseList } from '../cli/parse.js';
import type { RunResult } from '../config/result.js';
import { ALGORITHM_NAMES, algorithmsNamed, engineFor } from '../quantize/engine.js';
import {
  type Effort,
  STRATEGIES,
  type Strategy,
  WEIGHTS_GRANULARITIES,
  type WeightsGranularity,
} from '../quantize/options.js';
import { DEFAULT_TARGET, TARGETS } from '../target/profiles.js';

export default class Quantize extends BaseCommand {
  static override summary = 'quantize a model to INT8, without training';
  static override description =
    'Calibrates on sample data, refines the result layer by layer, checks it on samples that were kept apart, and ' +
    'writes a QDQ ONNX model, its parameters (quant_params.json) and report.html into a run folder. Models of TensorFlow ' +
    'and PyTorch come back in their own format too.';
  static override examples = [
    '<%= config.bin %> quantize net.onnx --data pictures/ --resize 256 --crop 224 --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4 --out runs/net',
    '<%= config.bin %> quantize net.onnx --recipe mobilenet --data train/ --verify-data val/ --labels val.txt --out runs/net',
    '<%= config.bin %> quantize net.pb --data pictures/ --input-shape "input:1,224,224,3" --outputs logits --out runs/net',
    '<%= config.bin %> quantize net.py --weights net.pth --input-shape "x:1,3,224,224" --data pictures/ --recipe resnet --out runs/net',
  ];
  static override args = {
    model: Args.string({
      required: true,
      description: 'ONNX file; TensorFlow .pb, .h5 or SavedModel; PyTorch .py or TorchScript',
    }),
  };
  static override flags = {
    data: Flags.string({
      required: true,
      description: 'calibration data: folder of pictures, .npy, .npz or .bin',
      helpGroup: 'DATA',
    }),
    'verify-data': Flags.string({
      description: 'data to score on (default: a part of --data that is kept back)',
      helpGroup: 'DATA',
    }),
    labels: Flags.string({ description: 'labels of the scored samples', helpGroup: 'DATA' }),
    metric: metricFlag,
    samples: Flags.integer({
      min: 1,
      description: 'calibration samples used at most (default: the recipe, else 200)',
      helpGroup: 'DATA',
    }),
    'verify-samples': Flags.integer({ min: 1, description: 'scored samples at most', helpGroup: 'DATA' }),
    'skip-bad': Flags.boolean({
      default: false,
      description: 'leave unreadable samples out instead of failing',
      helpGroup: 'DATA',
    }),
    ...pictureFlags,
    out: Flags.string({ required: true, description: 'run folder', helpGroup: 'RUN' }),
    resume: Flags.boolean({ default: false, description: 'continue an interrupted run', helpGroup: 'RUN' }),
    seed: Flags.integer({
      min: 0,
      default: 0,
      description: 'decides which samples are taken',
      helpGroup: 'RUN',
    }),
    ...runtimeFlags,
    recipe: Flags.string({ description: 'settings of a model family (dopt recipe list) or a YAML file' }),
    strategy: Flags.string({
      options: [...STRATEGIES],
      default: 'int8-8',
      description: 'bits of activations and weights: int16-8 where 8-bit activations lose too much',
    }),
    target: Flags.string({
      options: [...TARGETS],
      default: DEFAULT_TARGET,
      description: 'device: what computes in integers',
    }),
    'weights-granularity': Flags.string({
      options: [...WEIGHTS_GRANULARITIES],
      default: 'channel',
      description: 'scales of a weight: one a channel where the target can do that, or one',
    }),
    calibration: Flags.string({
      options: ['auto', 'minmax', 'percentile', 'entropy', 'mse'],
      description: 'how ranges are chosen (default: auto, per tensor by the error at the next layer)',
    }),
    effort: Flags.string({
      options: ['fast', 'balanced'],
      default: 'balanced',
      description: 'fast leaves refinement out',
    }),
    without: Flags.string({
      multiple: true,
      description: `leave an algorithm out, to see what it is worth: ${ALGORITHM_NAMES.join(', ')}`,
    }),
    exclude: Flags.string({
      multiple: true,
      description: 'node, weight, tensor, pattern* or op:Type to keep in float',
    }),
    int16: Flags.string({
      multiple: true,
      description: 'activation tensor or pattern* that carries 16 bits, where the target can',
    }),
    ...modelFlags,
    'fake-quant': Flags.boolean({
      default: false,
      description: 'TensorFlow: also write a graph that quantizes its activations',
    }),
    strict: Flags.boolean({ default: false, description: 'unknown operators are an error' }),
    'float16-to-float32': Flags.boolean({ default: false, description: 'convert a float16 model first' }),
  };

  async run(): Promise<RunResult> {
    const { args, flags } = await this.parse(Quantize);
    const { quantize } = await import('../quantize/quantize.js');
    const { summarize } = await import('../quantize/summary.js');
    const { chooseMetric } = await import('../verify/choose-metric.js');
    const recipe = flags.recipe ? await (await import('../config/recipe.js')).loadRecipe(flags.recipe) : null;
    const path = (value: string | undefined): string | null => (value === undefined ? null : resolve(value));
    const result = await quantize(
      {
        ...modelFrom(args.model, flags),
        out: resolve(flags.out),
        data: resolve(flags.data),
        verifyData: path(flags['verify-data']),
        parts: null,
        labels: path(flags.labels),
        preprocess: preprocessFrom(flags, { layout: layoutOf(args.model), ...recipe?.preprocess }),
        metric: chooseMetric({ flag: flags.metric, recipe: recipe?.metric, labels: Boolean(flags.labels) }),
        strategy: flags.strategy as Strategy,
        target: flags.target,
        weightsGranularity: flags['weights-granularity'] as WeightsGranularity,
        calibration: (flags.calibration ?? recipe?.calibration?.method ?? 'auto') as 'auto',
        effort: flags.effort as Effort,
        engine: engineFor(flags.effort as Effort, algorithmsNamed(parseList(flags.without))),
        samples: flags.samples ?? recipe?.calibration?.samples ?? 200,
        verifySamples: flags['verify-samples'] ?? null,
        exclude: [...(recipe?.exclude ?? []), ...parseList(flags.exclude)],
        precision: {
          int16: [...(recipe?.precision?.int16 ?? []), ...parseList(flags.int16)],
          float: recipe?.precision?.float ?? [],
        },
        strict: flags.strict,
        skipBad: flags['skip-bad'],
        fakeQuant: flags['fake-quant'],
        float16ToFloat32: flags['float16-to-float32'],
        seed: flags.seed,
        threads: flags.threads ?? availableParallelism(),
        environment: flags.env as 'venv',
        resume: flags.resume,
        recipe: recipe?.name ?? null,
      },
      { progress: this.progressFor(flags), signal: this.signal, command: ['dopt', 'quantize', ...this.argv] },
    );
    this.log(summarize(result, flags.out));
    return result;
  }
}
