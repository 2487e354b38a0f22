import { join } from 'node:path';
import { preprocessSchema } from '../config/data.js';
import { engineFor } from '../quantize/engine.js';
import type { QuantizeOptions } from '../quantize/options.js';
import { quantize } from '../quantize/quantize.js';
import { chooseMetric } from '../verify/choose-metric.js';
import type { QuantizedNetwork, Retrained, RetrainOptions } from './retrained.js';
import type { RunParams } from './run-params.js';

type Trained = Omit<Retrained, 'version' | 'quantized'>;

/** Quantizes a network that was retrained, in a folder beside it, as `dopt quantize` does. */
export async function quantizeTrained(
  trained: Trained,
  input: Pick<RunParams, 'inputShape' | 'channelsFirst'>,
  options: RetrainOptions,
): Promise<QuantizedNetwork> {
  const run = join(trained.folder, 'int8');
  const { progress, signal, command } = options;
  const result = await quantize(optionsFor(trained, run, input, options), { progress, signal, command });
  return { run, result };
}

/** A network of PyTorch goes in as its program and weights, so that it comes back as such; one of TensorFlow as its .pb. */
function optionsFor(
  { folder, model, weights, input, calibration, validation, labels, number }: Trained,
  out: string,
  { inputShape, channelsFirst }: Pick<RunParams, 'inputShape' | 'channelsFirst'>,
  { profile, environment, threads, target }: RetrainOptions,
): QuantizeOptions {
  const torch = model.endsWith('.onnx');
  const [height, width, channels] = inputShape;
  const shape = channelsFirst ? [1, channels!, height!, width!] : [1, height!, width!, channels!];
  return {
    model: torch ? join(folder, '../../results', `model_arch_result_${number}.py`) : model,
    framework: 'auto',
    weights: torch ? weights : null,
    className: torch ? 'build' : null,
    trustCode: false,
    profile: torch ? profile : null,
    fakeQuant: false,
    out,
    data: calibration,
    verifyData: validation,
    parts: null,
    labels,
    preprocess: preprocessSchema.parse({ layout: channelsFirst ? 'nchw' : 'nhwc' }),
    metric: chooseMetric({ flag: undefined, recipe: undefined, labels: labels !== null }),
    inputShapes: { [input]: shape },
    outputs: null,
    strategy: 'int8-8',
    target,
    weightsGranularity: 'channel',
    calibration: 'auto',
    effort: 'balanced',
    engine: engineFor('balanced'),
    samples: 200,
    verifySamples: null,
    exclude: [],
    strict: false,
    skipBad: false,
    float16ToFloat32: false,
    seed: 0,
    threads,
    environment,
    resume: true,
    recipe: null,
  };
}
