import type { Metric } from '../config/metric.js';
import type { OutputComparison, TensorComparison, Verification } from '../config/verification.js';
import { UserError } from '../errors.js';
import { AgreementAccumulator, type Layout } from './agreement.js';
import { RatioAccumulator } from './ratio.js';
import { type RecordedOutputs, recordedModel } from './recorded.js';
import { Recorder } from './recorder.js';
import type { Evaluation, Progress, SampleEnergies, VerifyRequest } from './request.js';
import { evaluatorVersion, loadModel, type Model } from './session.js';
import { SimilarityAccumulator } from './similarity.js';
import { judgedFirst, type Outputs } from './task.js';
import { taskScorer } from './task-scorer.js';
import {
  type MaterializedSample,
  type RawTensor,
  readRawTensor,
  tensorValues,
  type Values,
} from './tensors.js';

/**
 * Runs both models over the samples, one sample at a time: memory holds one sample with the outputs of both.
 * Use `verifyModels` instead: this blocks the event loop.
 */
export async function evaluate(request: VerifyRequest, progress: Progress): Promise<Evaluation> {
  const start = performance.now();
  // Where everything inside stays float there is no tensor to compare, and onnxruntime takes no empty list of them.
  const inner = request.tensors?.pairs.length ? request.tensors : undefined;
  const tensorSamples = inner ? Math.min(inner.samples, request.samples.length) : 0;
  const total = request.samples.length + tensorSamples;
  const tensors = inner
    ? await withModels(inner, request, (float, quantized) =>
        compareTensors(request, float, quantized, (done) => progress(done, total, 'comparing tensors')),
      )
    : [];
  return withModels(request, request, async (float, quantized): Promise<Evaluation> => {
    const { recorded, energies, ...end } = await compareEnds(request, float, quantized, (done) =>
      progress(tensorSamples + done, total, 'comparing outputs'),
    );
    const samples = request.samples.length;
    const verification = {
      evaluator: {
        name: 'onnxruntime-node' as const,
        version: await evaluatorVersion(),
        optimization: request.optimization,
        threads: request.threads,
      },
      samples,
      ...end,
      tensors,
      tensorSamples,
      seconds: (performance.now() - start) / 1000,
      floatSecondsPerSample: float.seconds / samples,
      quantizedSecondsPerSample: quantized.seconds / samples,
    };
    return { verification, energies, recorded };
  });
}

/** Loads both models for the duration of `use`. */
async function withModels<T>(
  paths: { float: string | RecordedOutputs; quantized: string | RecordedOutputs },
  { optimization, threads }: VerifyRequest,
  use: (float: Model, quantized: Model) => Promise<T>,
): Promise<T> {
  const open = (source: string | RecordedOutputs): Promise<Model> =>
    typeof source === 'string' ? loadModel(source, optimization, threads) : recordedModel(source);
  const float = await open(paths.float);
  try {
    const quantized = await open(paths.quantized);
    try {
      return await use(float, quantized);
    } finally {
      await quantized.release();
    }
  } finally {
    await float.release();
  }
}

async function compareTensors(
  request: VerifyRequest,
  float: Model,
  quantized: Model,
  progress: (done: number) => void,
): Promise<TensorComparison[]> {
  const { pairs, samples } = request.tensors!;
  requireOutputs(
    float,
    pairs.map((pair) => pair.float),
  );
  requireOutputs(
    quantized,
    pairs.map((pair) => pair.quantized),
  );
  const sums = pairs.map(() => new SimilarityAccumulator());
  const wanted = {
    float: unique(pairs.map((p) => p.float)),
    quantized: unique(pairs.map((p) => p.quantized)),
  };
  for (const [index, sample] of request.samples.slice(0, samples).entries()) {
    const feeds = readFeeds(sample);
    const a = await float.run(feeds, wanted.float, index);
    const b = await quantized.run(feeds, wanted.quantized, index);
    pairs.forEach((pair, i) => {
      const [left, right] = [tensorValues(a[pair.float]!), tensorValues(b[pair.quantized]!)];
      if (left && right && left.data.length === right.data.length) sums[i]!.add(left.data, right.data);
    });
    progress(index + 1);
  }
  return pairs.map(({ name }, i) => ({ name, ...sums[i]!.result() }));
}

/** The comparison at the models' outputs, with the task metric. */
async function compareEnds(
  request: VerifyRequest,
  float: Model,
  quantized: Model,
  progress: (done: number) => void,
): Promise<Pick<Verification, 'outputs' | 'task' | 'warnings'> & Pick<Evaluation, 'recorded' | 'energies'>> {
  const { pairs, warnings } = matchOutputs(float, quantized);
  const decide = decidesByOutput(request.metric) ? (request.preprocess?.layout ?? 'nchw') : null;
  const compared = pairs.map((pair) => new OutputAccumulator(pair.float, decide));
  const task = taskScorer(request);
  const energies: SampleEnergies = { signal: [], noise: [] };
  const record = request.record && {
    float: new Recorder(request.record.float),
    quantized: new Recorder(request.record.quantized),
  };
  for (const [index, sample] of request.samples.entries()) {
    const feeds = readFeeds(sample);
    const run = async (model: Model, side: 'float' | 'quantized'): Promise<Outputs> => {
      const wanted = pairs.map((pair) => pair[side]);
      const tensors = await model.run(feeds, wanted, index);
      const named = pairs.map((pair) => [pair.float, tensors[pair[side]]!] as const);
      record?.[side].add(named);
      const values = named.map(([name, tensor]) => [name, tensorValues(tensor)] as const);
      return Object.fromEntries(values.filter(([, value]) => value !== null)) as Outputs;
    };
    const a = await run(float, 'float');
    const b = await run(quantized, 'quantized');
    const sums = compared.map((output) => {
      const [left, right] = [a[output.name], b[output.name]];
      return left && right ? output.add(left, right) : NOT_COMPARED;
    });
    energies.signal.push(sums.map(({ signal }) => signal));
    energies.noise.push(sums.map(({ noise }) => noise));
    task?.add(index, a, b);
    progress(index + 1);
  }
  const outputs = compared.map((output) => output.result());
  for (const { name, similarity } of outputs) {
    if (similarity.nonFinite > 0) {
      warnings.push(
        `Output ${name} has ${similarity.nonFinite} values that are NaN or infinite; they are left out.`,
      );
    }
  }
  const scored = task?.result() ?? null;
  if (task && !scored) warnings.push('The task metric found nothing to score in these samples.');
  const judged = scored && judgedFirst(scored, request.metric?.judge);
  warnings.push(...(judged?.warnings ?? []));
  const recorded = record && { float: record.float.samples, quantized: record.quantized.samples };
  return { outputs, task: judged?.task ?? null, warnings, recorded, energies };
}

const NOT_COMPARED = { signal: 0, noise: 0 };

/** The largest class of a row or pixel is a decision, unless the metric says that outputs are boxes, pictures or tokens. */
const decidesByOutput = (metric: Metric | null): boolean =>
  metric === null || !['detection', 'image', 'tokens'].includes(metric.kind);

class OutputAccumulator {
  private readonly similarity = new SimilarityAccumulator();
  private readonly noise = new RatioAccumulator();
  private readonly agreement: AgreementAccumulator | null;
  private differentShapes = 0;

  /** @param decide where classes lie; null where the output decides nothing */
  constructor(
    readonly name: string,
    decide: Layout | null,
  ) {
    this.agreement = decide && new AgreementAccumulator(decide);
  }

  add(reference: Values, value: Values): { signal: number; noise: number } {
    if (reference.shape.join() !== value.shape.join()) {
      this.differentShapes++;
      return NOT_COMPARED;
    }
    const { signal, noise } = this.similarity.add(reference.data, value.data);
    this.noise.add(noise, signal);
    this.agreement?.add(reference, value);
    return { signal, noise };
  }

  result(): OutputComparison {
    const { ratio, standardError } = this.noise;
    return {
      name: this.name,
      similarity: this.similarity.result(),
      // d(10 · log10 r) = 10 / ln 10 · dr / r
      sqnrStandardError:
        standardError !== null && ratio > 0 ? (10 / Math.LN10) * (standardError / ratio) : null,
      agreement: this.agreement?.result() ?? null,
      differentShapes: this.differentShapes,
    };
  }
}

/** Outputs of the two models by name, or by position when the names differ but their number does not. */
function matchOutputs(
  float: Model,
  quantized: Model,
): { pairs: { float: string; quantized: string }[]; warnings: string[] } {
  if (float.outputs.every((name) => quantized.outputs.includes(name))) {
    return { pairs: float.outputs.map((name) => ({ float: name, quantized: name })), warnings: [] };
  }
  if (float.outputs.length !== quantized.outputs.length) {
    throw new UserError(
      'VERIFY_OUTPUTS',
      `The outputs of ${float.path} and ${quantized.path} do not match.`,
      {
        expected: float.outputs.join(', '),
        found: quantized.outputs.join(', '),
        suggestions: ['Compare a model with its own quantized form.'],
      },
    );
  }
  return {
    pairs: float.outputs.map((name, i) => ({ float: name, quantized: quantized.outputs[i]! })),
    warnings: ['The outputs of the two models are named differently; they are compared in their order.'],
  };
}

function requireOutputs(model: Model, names: readonly string[]): void {
  const missing = names.filter((name) => !model.outputs.includes(name));
  if (missing.length === 0) return;
  throw new UserError('VERIFY_TENSORS', `${model.path} does not put out ${missing.slice(0, 3).join(', ')}.`, {
    place: model.path,
    suggestions: ['Run the command again without --resume, so that the file is written anew.'],
  });
}

const unique = (names: readonly string[]): string[] => [...new Set(names)];

function readFeeds(sample: MaterializedSample): Map<string, RawTensor> {
  return new Map(Object.entries(sample.tensors).map(([name, file]) => [name, readRawTensor(file)]));
}
