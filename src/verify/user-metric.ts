import { basename, join } from 'node:path';
import type { RunJob } from '../bridge/progress-job.js';
import type { Params, Result } from '../bridge/protocol.js';
import type { UserMetric } from '../config/metric.js';
import type { Score, TaskResult, Verification } from '../config/verification.js';
import { Bug, UserError } from '../errors.js';
import { FEWEST_SAMPLES, NO_SPREAD, ROUNDS, spread } from './bootstrap.js';
import type { RecordedSamples } from './recorder.js';
import type { Evaluation, VerifyRequest } from './request.js';
import { judgedFirst } from './task.js';

/** Draws for standard errors are given up when they would take longer than this, in seconds a model. */
const RESAMPLING_SECONDS = 10;

/** Where a metric of the user's runs. */
export interface MetricPlace {
  run: RunJob;
  /** Folder for the outputs of both models, which are removed after the metric has run. */
  folder: string;
}

/** Loads a metric of the user's before other work is done, so that a mistake in it is told at once. */
export async function checkUserMetric({ file, patience }: UserMetric, run: RunJob): Promise<void> {
  await run(`check ${basename(file)}`, 'checkMetric', { file, patience });
}

type Models = Pick<VerifyRequest, 'float' | 'quantized'>;

/** Folders for outputs that are not in files yet; null where all are. */
export function outputFolders({ folder }: MetricPlace, models: Models): VerifyRequest['record'] {
  if (typeof models.float !== 'string' && typeof models.quantized !== 'string') return null;
  return { float: join(folder, 'float-outputs'), quantized: join(folder, 'quantized-outputs') };
}

/**
 * Adds the scores of a user's metric to what the comparison found: `evaluate` is called for each of both models.
 * @throws UserError METRIC_… with the line of the user's code
 */
export async function scoreByUser(
  metric: UserMetric,
  request: Pick<VerifyRequest, 'float' | 'quantized' | 'samples' | 'labels'>,
  { verification, recorded }: Evaluation,
  { run }: MetricPlace,
): Promise<Verification> {
  const { samples, labels } = request;
  if (labels && labels.kind !== 'user') throw new Bug(`${labels.kind} labels for a user metric`);
  const call = (model: 'float' | 'quantized'): Promise<Result<'userMetric'>> => {
    const source = request[model];
    const files = typeof source === 'string' ? recorded![model] : source.samples;
    return run(
      `${basename(metric.file)} on the ${model} model`,
      'userMetric',
      {
        file: metric.file,
        patience: metric.patience,
        model,
        samples: namedFiles(samples, files),
        labels: labels?.labels ?? null,
        resampling:
          samples.length < FEWEST_SAMPLES
            ? null
            : { rounds: ROUNDS, seed: samples.length, seconds: RESAMPLING_SECONDS },
      },
      ({ seconds, reason }) => `${seconds.toFixed(2)} s${reason ? `, no standard error: ${reason}` : ''}`,
    );
  };
  const float = await call('float');
  const quantized = await call('quantized');
  const task: TaskResult = {
    kind: 'user',
    against: labels ? 'labels' : 'nothing',
    samples: samples.length,
    scores: userScores(metric.file, float, quantized),
  };
  const judged = judgedFirst(task, metric.judge);
  return { ...verification, task: judged.task, warnings: [...verification.warnings, ...judged.warnings] };
}

const namedFiles = (
  samples: VerifyRequest['samples'],
  files: RecordedSamples,
): Params<'userMetric'>['samples'] => files.map((tensors, i) => ({ name: samples[i]!.name, tensors }));

/**
 * The scores of both models side by side.
 * @throws UserError METRIC_RESULT when they have other names for the two models
 */
export function userScores(
  file: string,
  float: Result<'userMetric'>,
  quantized: Result<'userMetric'>,
): Score[] {
  const names = float.scores.map(({ name }) => name);
  const others = quantized.scores.map(({ name }) => name);
  if (names.length !== others.length || names.some((name) => !others.includes(name))) {
    throw new UserError('METRIC_RESULT', `${file} does not score the two models by the same names.`, {
      place: file,
      expected: names.join(', '),
      found: others.join(', '),
      suggestions: ['Let evaluate() return the same keys for all outputs.'],
    });
  }
  return float.scores.map(({ name, value, better }, i) => {
    const at = others.indexOf(name);
    const [before, after] = [float.replicates, quantized.replicates];
    const uncertainty =
      before && after
        ? spread(
            before.map((row) => row[i]!),
            after.map((row) => row[at]!),
          )
        : NO_SPREAD;
    return { name, unit: '', better, float: value, quantized: quantized.scores[at]!.value, ...uncertainty };
  });
}
