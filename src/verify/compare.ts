import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureEnvironment } from '../bridge/environments.js';
import type { EnvironmentKind } from '../bridge/profiles.js';
import { progressJob } from '../bridge/progress-job.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import { toNumber } from '../config/common.js';
import type { DataSource, Preprocess } from '../config/data.js';
import type { Metric } from '../config/metric.js';
import type { Comparison } from '../config/result.js';
import { EXIT, UserError } from '../errors.js';
import { pickSamples } from '../quantize/samples.js';
import { fileDigest } from '../run/digest.js';
import { VERSION } from '../version.js';
import { readLabels } from './labels.js';
import { figureText, lost, unitText, withinNoise } from './score.js';
import { loadModel, type Optimization } from './session.js';
import { checkUserMetric } from './user-metric.js';
import { verifyModels } from './verify.js';

/** What `dopt verify` can be asked for. Paths are absolute. */
export interface CompareOptions {
  float: string;
  quantized: string;
  data: string;
  preprocess: Preprocess;
  labels: string | null;
  metric: Metric | null;
  /** Most samples to compare; null takes all. */
  samples: number | null;
  seed: number;
  skipBad: boolean;
  optimization: Optimization;
  threads: number;
  environment: EnvironmentKind;
}

export interface CompareContext {
  progress?: Progress;
  signal?: AbortSignal;
}

/**
 * Compares any two ONNX files of one network on sample data, with labels where there are some.
 * Rejects as `verifyModels` and `readLabels` do, and with the data errors of Python.
 */
export async function compareModels(
  options: CompareOptions,
  context: CompareContext = {},
): Promise<Comparison> {
  const progress = context.progress ?? silentProgress;
  const inputs = await modelInputs(options.float);
  const environment = await ensureEnvironment('onnx', options.environment, {
    onProgress: (line) => progress.note(line),
  });
  const folder = await mkdtemp(join(tmpdir(), 'dopt-verify-'));
  try {
    const { data: path, preprocess, skipBad, seed, metric, labels } = options;
    const all: DataSource = { path, preprocess, inputs, indices: null, skipBad };
    const job = progressJob(environment, options.threads, progress, context.signal);
    if (metric?.kind === 'user') await checkUserMetric(metric, job);
    const listing = await job('list samples', 'listSamples', { source: all });
    const total = listing.names.length;
    const source = { ...all, indices: pickSamples(total, options.samples ?? total, seed) };
    const { samples, skipped } = await job('read samples', 'materialize', { source, out: folder });
    const rows = new Map(listing.names.map((name, index) => [name, index]));
    const keys = samples.map(({ name }) => ({ name, index: rows.get(name)! }));
    const shown = progress.stage('compare');
    const verification = await verifyModels({
      float: options.float,
      quantized: options.quantized,
      samples,
      tensors: null,
      metric,
      labels: labels && metric ? await readLabels(labels, metric, keys) : null,
      preprocess,
      optimization: options.optimization,
      threads: options.threads,
      userMetric: { run: job, folder },
      ...(context.signal ? { signal: context.signal } : {}),
      onProgress: (done, count, message) => shown.update(done, count, message),
    });
    shown.done(`${samples.length} samples`);
    return {
      version: 1,
      dopt: VERSION,
      float: await fileDigest(options.float),
      quantized: await fileDigest(options.quantized),
      data: { path, sha256: listing.sha256, samples: samples.length, skipped },
      verification,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Least quality that a comparison must reach; null asks for nothing. */
export interface Requirements {
  /** How much of the first task score may be lost, in its unit. */
  maxDrop: number | null;
  /** SQNR of the worst output in dB. */
  minSqnr: number | null;
}

/** @throws UserError VERIFICATION_FAILED (exit code 7) when a requirement is not met */
export function requireQuality({ verification }: Comparison, { maxDrop, minSqnr }: Requirements): void {
  const failed = (expected: string, found: string): UserError =>
    new UserError('VERIFICATION_FAILED', 'The quantized model is not as good as required.', {
      exitCode: EXIT.verification,
      expected,
      found,
      suggestions: ['See where the noise arises in the report.html of the quantizing run.'],
    });
  const worst = Math.min(...verification.outputs.map(({ similarity }) => toNumber(similarity.sqnr)));
  if (minSqnr !== null && !(worst >= minSqnr)) {
    throw failed(`SQNR of at least ${minSqnr} dB`, `${worst.toFixed(2)} dB`);
  }
  if (maxDrop === null) return;
  const main = verification.task?.scores[0];
  if (!main) {
    throw new UserError('VERIFY_NO_METRIC', 'A largest drop needs a task metric, and there is none.', {
      exitCode: EXIT.usage,
      suggestions: ['Add --labels, and a --recipe that names the metric.'],
    });
  }
  const drop = lost(main);
  if (drop <= maxDrop) return;
  const unit = main.unit === '%' ? ' points' : unitText(main.unit);
  const way = main.better === 'higher' ? 'lower' : 'higher';
  throw failed(
    `${main.name} at most ${maxDrop}${unit} ${way}`,
    `${figureText(drop, main.unit)}${unit} ${way}${withinNoise(main) ? ', within what the choice of samples explains' : ''}`,
  );
}

/** What the model takes. Loading it here blocks the event loop for the time that onnxruntime reads the file. */
async function modelInputs(path: string): Promise<DataSource['inputs']> {
  const model = await loadModel(path, 'disabled', 1);
  const types = model.inputTypes;
  await model.release();
  return types;
}
