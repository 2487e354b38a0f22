import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import * as Flags from '@oclif/core/flags';
import type { InferredFlags } from '@oclif/core/interfaces';
import type { Recipe } from '../config/recipe.js';
import { EFFORTS, type Effort } from '../quantize/effort.js';
import {
  ALGORITHM_NAMES,
  type Algorithm,
  algorithmName,
  algorithmsNamed,
  DOUBTFUL,
  engineFor,
} from '../quantize/engine.js';
import {
  type QuantizeOptions,
  STRATEGIES,
  type Strategy,
  WEIGHTS_GRANULARITIES,
  type WeightsGranularity,
} from '../quantize/options.js';
import {
  decimal,
  deviceFlags,
  gpusFrom,
  layoutOf,
  metricFlag,
  modelFlags,
  modelFrom,
  pictureFlags,
  preprocessFrom,
  runtimeFlags,
  targetFlag,
} from './flags.js';
import { parseList } from './parse.js';

/** What says how a model is quantized, for every command that does so. */
export const quantizeFlags = {
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
  ...deviceFlags,
  recipe: Flags.string({ description: 'settings of a model family (dopt recipe list) or a YAML file' }),
  strategy: Flags.string({
    options: [...STRATEGIES],
    default: 'int8-8',
    description: 'bits of activations and weights: int16-8 where 8-bit activations lose too much',
  }),
  target: targetFlag({
    description: 'device: what computes in integers (dopt target list), or the YAML file of one',
  }),
  'weights-granularity': Flags.string({
    options: [...WEIGHTS_GRANULARITIES],
    description: 'scales of a weight: one a channel where the target can do that (default), or one',
  }),
  calibration: Flags.string({
    options: ['auto', 'minmax', 'percentile', 'entropy', 'mse'],
    description: 'how ranges are chosen (default: auto, per tensor by the error at the next layer)',
  }),
  effort: Flags.string({
    options: [...EFFORTS],
    description:
      'fast leaves refinement out; best compares ways of refining on samples kept back, minutes (default: the recipe, ' +
      'else balanced)',
  }),
  without: Flags.string({
    multiple: true,
    description: `leave an algorithm out, to see what it is worth: ${ALGORITHM_NAMES.join(', ')}`,
  }),
  with: Flags.string({
    multiple: true,
    description: `run an algorithm that the effort does not begin with: ${DOUBTFUL.map(algorithmName).join(', ')}`,
  }),
  exclude: Flags.string({
    multiple: true,
    description: 'node, weight, tensor, pattern* or op:Type to keep in float',
  }),
  int16: Flags.string({
    multiple: true,
    description: 'activation tensor or pattern* that carries 16 bits, where the target can',
  }),
  'target-sqnr': decimal({
    description: 'least SQNR of the outputs in dB: the fewest tensors that must be wider for it are found',
    exclusive: ['max-drop'],
  }),
  'max-drop': decimal({
    description: 'most that the metric may lose: the fewest tensors that must be wider for it are found',
  }),
  ...modelFlags,
  'fake-quant': Flags.boolean({
    default: false,
    description: 'TensorFlow: also write a graph that quantizes its activations',
  }),
  strict: Flags.boolean({ default: false, description: 'unknown operators are an error' }),
  'float16-to-float32': Flags.boolean({ default: false, description: 'convert a float16 model first' }),
};

type QuantizeFlags = InferredFlags<typeof quantizeFlags>;

/**
 * What the flags and their recipe ask for, with absolute paths; flags win over the recipe.
 * @throws UserError that name the flag, or the recipe's file and line
 */
export async function quantizeOptions(model: string, flags: QuantizeFlags): Promise<QuantizeOptions> {
  const { chooseMetric } = await import('../verify/choose-metric.js');
  const recipe = flags.recipe ? await (await import('../config/recipe.js')).loadRecipe(flags.recipe) : null;
  const path = (value: string | undefined): string | null => (value === undefined ? null : resolve(value));
  const engine = engineOf(flags, recipe?.engine);
  return {
    ...modelFrom(model, flags),
    out: resolve(flags.out),
    data: resolve(flags.data),
    verifyData: path(flags['verify-data']),
    parts: null,
    labels: path(flags.labels),
    preprocess: preprocessFrom(flags, { layout: layoutOf(model), ...recipe?.preprocess }),
    metric: chooseMetric({ flag: flags.metric, recipe: recipe?.metric, labels: Boolean(flags.labels) }),
    strategy: flags.strategy as Strategy,
    target: flags.target,
    weightsGranularity:
      (flags['weights-granularity'] as WeightsGranularity | undefined) ??
      recipe?.engine?.weightsGranularity ??
      'channel',
    calibration: (flags.calibration ?? recipe?.calibration?.method ?? 'auto') as 'auto',
    ...engine,
    samples: flags.samples ?? recipe?.calibration?.samples ?? 200,
    verifySamples: flags['verify-samples'] ?? null,
    exclude: [...(recipe?.exclude ?? []), ...parseList(flags.exclude)],
    precision: {
      int16: [...(recipe?.precision?.int16 ?? []), ...parseList(flags.int16)],
      float: recipe?.precision?.float ?? [],
    },
    ...goalOf(flags),
    strict: flags.strict,
    skipBad: flags['skip-bad'],
    fakeQuant: flags['fake-quant'],
    float16ToFloat32: flags['float16-to-float32'],
    seed: flags.seed,
    threads: flags.threads ?? availableParallelism(),
    gpus: gpusFrom(flags),
    environment: flags.env as 'venv',
    resume: flags.resume,
    recipe: recipe?.name ?? null,
  };
}

/** Samples that choices between settings are decided by at most. */
export const TUNING_SAMPLES = 256;

/** Effort and algorithms; `best` compares those that it does not begin with, unless they are switched on or off. */
function engineOf(flags: Pick<QuantizeFlags, 'effort' | 'without' | 'with'>, recipe: Recipe['engine']) {
  const named = (given: readonly string[] | undefined, usual: readonly string[] = []): Algorithm[] =>
    algorithmsNamed([...usual, ...parseList(given)]);
  const effort = (flags.effort as Effort | undefined) ?? recipe?.effort ?? 'balanced';
  const [without, added] = [named(flags.without, recipe?.without), named(flags.with, recipe?.with)];
  const engine = engineFor(effort, without, added);
  const compared = DOUBTFUL.filter((name) => !without.includes(name) && !added.includes(name));
  if (effort !== 'best' || compared.length === 0) return { effort, engine };
  return { effort, engine, compared, tuningSamples: TUNING_SAMPLES };
}

/** What a run must reach, with samples to decide by; nothing where it is taken as it comes. */
function goalOf(flags: Pick<QuantizeFlags, 'target-sqnr' | 'max-drop'>): Partial<QuantizeOptions> {
  const [sqnr, drop] = [flags['target-sqnr'], flags['max-drop']];
  if (sqnr !== undefined) return { goal: { kind: 'sqnr', value: sqnr }, tuningSamples: TUNING_SAMPLES };
  if (drop !== undefined) return { goal: { kind: 'drop', value: drop }, tuningSamples: TUNING_SAMPLES };
  return {};
}
