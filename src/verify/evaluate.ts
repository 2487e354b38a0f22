import type { Preprocess } from '../config/data.js';
import type { Metric } from '../config/metric.js';
import type { OutputComparison, TensorComparison, Verification } from '../config/verification.js';
import { UserError } from '../errors.js';
import { AgreementAccumulator } from './agreement.js';
import type { Labels } from './labels.js';
import { type RecordedOutputs, recordedModel } from './recorded.js';
import { evaluatorVersion, loadModel, type Model, type Optimization } from './session.js';
import { SimilarityAccumulator } from './similarity.js';
import { taskScorer } from './task-scorer.js';
import {
  type MaterializedSample,
  type RawTensor,
  readRawTensor,
  tensorValues,
  type Values,
} from './tensors.js';

/** What to compare; plain data, so that it can be sent to a worker. */
export interface VerifyRequest {
  /** Paths of the two ONNX files, or what another program computed. */
  float: string | RecordedOutputs;
  quantized: string | RecordedOutputs;
  samples: MaterializedSample[];
  /** Comparison of inner tensors, on models that have them as outputs; null leaves it out. */
  tensors: TensorRequest | null;
  metric: Metric | null;
  labels: Labels | null;
  /** How pictures became samples: boxes are mapped back by it. Only detection needs it. */
  preprocess: Preprocess | null;
  optimization: Optimization;
  threads: number;
}

export interface TensorRequest {
  float: string;
  quantized: string;
  /** Report name, and the output's name in each of the two files. */
  pairs: { name: string; float: string; quantized: string }[];
  /** Only the first so many samples. */
  samples: number;
}

/** Called after each sample. */
export type Progress = (done: number, total: number, message: string) => void;

/**
 * Runs both models over the samples, one sample at a time: memory holds one sample with the outputs of both.
 * Use `verifyModels` instead: this blocks the event loop.
 */
export async function evaluate(request: VerifyRequest, progress: Progress): Promise<Verification> {
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
  return withModels(request, request, async (float, quantized): Promise<Verification> => {
    const end = await compareEnds(request, float, quantized, (done) =>
      progress(tensorSamples + done, total, 'comparing outputs'),
    );
    const samples = request.samples.length;
    return {
      evaluator: {
        name: 'onnxruntime-node',
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
): Promise<Pick<Verification, 'outputs' | 'task' | 'warnings'>> {
  const { pairs, warnings } = matchOutputs(float, quantized);
  const outputs = pairs.map((pair) => new OutputAccumulator(pair.float));
  const task = taskScorer(request);
  const at = pairs.findIndex((pair) => pair.float === (request.metric?.output ?? pair.float));
  if (task && at < 0) {
    throw new UserError('METRIC_OUTPUT', `${float.path} has no output ${request.metric?.output}.`, {
      expected: `one of ${float.outputs.join(', ')}`,
      suggestions: ['Mend metric.output in the recipe.'],
    });
  }
  for (const [index, sample] of request.samples.entries()) {
    const feeds = readFeeds(sample);
    const a = await float.run(
      feeds,
      pairs.map((pair) => pair.float),
      index,
    );
    const b = await quantized.run(
      feeds,
      pairs.map((pair) => pair.quantized),
      index,
    );
    pairs.forEach((pair, i) => {
      const [left, right] = [tensorValues(a[pair.float]!), tensorValues(b[pair.quantized]!)];
      if (!left || !right) return;
      outputs[i]!.add(left, right);
      if (i === at) task?.add(index, left, right);
    });
    progress(index + 1);
  }
  const compared = outputs.map((output) => output.result());
  for (const { name, similarity } of compared) {
    if (similarity.nonFinite > 0) {
      warnings.push(
        `Output ${name} has ${similarity.nonFinite} values that are NaN or infinite; they are left out.`,
      );
    }
  }
  return { outputs: compared, task: task?.result() ?? null, warnings };
}

class OutputAccumulator {
  private readonly similarity = new SimilarityAccumulator();
  private readonly agreement = new AgreementAccumulator();
  private differentShapes = 0;

  constructor(private readonly name: string) {}

  add(reference: Values, value: Values): void {
    if (reference.shape.join() !== value.shape.join()) {
      this.differentShapes++;
      return;
    }
    this.similarity.add(reference.data, value.data);
    this.agreement.add(reference, value);
  }

  result(): OutputComparison {
    return {
      name: this.name,
      similarity: this.similarity.result(),
      agreement: this.agreement.result(),
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
