import { rm } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { NO_TELEMETRY } from '../bridge/child-environment.js';
import { interrupted } from '../bridge/python-errors.js';
import type { Verification } from '../config/verification.js';
import { Bug, type DoptError, EnvironmentError, EXIT, ExternalError, UserError } from '../errors.js';
import type { ErrorMessage, WorkerMessage, WorkerRequest } from './messages.js';
import type { Evaluation, Progress, SampleEnergies, VerifyRequest } from './request.js';
import { type MetricPlace, outputFolders, scoreByUser } from './user-metric.js';

export type { VerifyRequest } from './request.js';
export type VerifyResult = Verification;

export interface VerifyOptions extends Omit<VerifyRequest, 'record'> {
  /** Where a metric of the user's runs; needed for metrics of kind 'user' only. */
  userMetric?: MetricPlace;
  /** Stops after the sample in work. */
  signal?: AbortSignal;
  onProgress?: Progress;
}

/**
 * Compares a float model with its quantized form on prepared samples, in a worker thread (onnxruntime's `run` blocks the
 * thread it is called from). Memory does not depend on the number of samples.
 *
 * Rejects with UserError (files that do not load, labels that do not fit, INTERRUPTED when aborted), ExternalError
 * VERIFY_RUN when onnxruntime fails (exit code 7), ExternalError VERIFY_WORKER when the thread dies (exit code 6), and with
 * what the user's metric fails with.
 */
export const verifyModels = async (options: VerifyOptions): Promise<VerifyResult> =>
  (await verifySamples(options)).verification;

/** `verifyModels` with the sums of each sample, to compare two quantized forms of a network sample by sample. */
export async function verifySamples(
  options: VerifyOptions,
): Promise<{ verification: Verification; energies: SampleEnergies }> {
  const { signal, onProgress, userMetric, ...request } = options;
  if (signal?.aborted) throw interrupted('verification');
  if (request.samples.length === 0) {
    throw new UserError('VERIFY_NO_SAMPLES', 'There is no sample to verify with.', {
      suggestions: ['Give more pictures, or others to score: --data FOLDER'],
    });
  }
  if (request.metric?.kind !== 'user') {
    return compare({ ...request, record: null }, onProgress, signal);
  }
  if (!userMetric) throw new Bug("a metric of the user's needs a place to run");
  const record = outputFolders(userMetric, request);
  try {
    const evaluation = await compare({ ...request, record }, onProgress, signal);
    const verification = await scoreByUser(request.metric, request, evaluation, userMetric);
    return { verification, energies: evaluation.energies };
  } finally {
    await Promise.all(Object.values(record ?? {}).map((path) => rm(path, { recursive: true, force: true })));
  }
}

async function compare(
  request: VerifyRequest,
  onProgress?: Progress,
  signal?: AbortSignal,
): Promise<Evaluation> {
  const stopped = new Int32Array(new SharedArrayBuffer(4));
  const worker = startWorker({ request, stopped });
  let giveUp: NodeJS.Timeout | undefined;
  // A thread that is ended inside onnxruntime may take the process with it: it stops by itself, between two samples.
  const stop = (): void => {
    Atomics.store(stopped, 0, 1);
    giveUp = setTimeout(() => void worker.terminate(), STOP_WITHIN_MS);
  };
  signal?.addEventListener('abort', stop);
  try {
    return await answerOf(worker, onProgress, signal);
  } finally {
    clearTimeout(giveUp);
    signal?.removeEventListener('abort', stop);
    await worker.terminate();
  }
}

/** A sample that takes longer is not waited for. */
const STOP_WITHIN_MS = 10_000;

function answerOf(worker: Worker, onProgress?: Progress, signal?: AbortSignal): Promise<Evaluation> {
  return new Promise((resolve, reject) => {
    worker.on('message', (message: WorkerMessage) => {
      if (message.type === 'progress') {
        if (!signal?.aborted) onProgress?.(message.done, message.total, message.message);
      } else if (message.type === 'result') {
        resolve(message.value);
      } else {
        reject(signal?.aborted ? interrupted('verification') : fromMessage(message.error));
      }
    });
    worker.on('error', (error) => reject(died(error.message, error)));
    worker.on('exit', (code) => {
      reject(signal?.aborted ? interrupted('verification') : died(`it ended with code ${code}`));
    });
  });
}

/** Starts the thread. From TypeScript sources (tests, bin/dev.js) the worker is TypeScript too and needs a loader. */
function startWorker(request: WorkerRequest): Worker {
  // Here and not in the worker, whose variables are a copy that native code does not see.
  Object.assign(process.env, NO_TELEMETRY);
  const source = import.meta.url.endsWith('.ts');
  const url = new URL(source ? './worker.ts' : './worker.js', import.meta.url);
  if (!source) return new Worker(url, { workerData: request });
  const load = `import('tsx/esm/api').then(({ register }) => (register(), import(${JSON.stringify(url.href)})))`;
  return new Worker(load, { eval: true, workerData: request });
}

function died(reason: string, cause?: unknown): ExternalError {
  return new ExternalError('VERIFY_WORKER', `The verification thread died: ${reason}.`, {
    exitCode: EXIT.native,
    cause,
    suggestions: [
      'The system may have run out of memory: close other programs or verify with fewer samples.',
    ],
  });
}

/** The error that was thrown in the worker, of its own class again. */
function fromMessage({ kind, code, message, exitCode, details, stack }: ErrorMessage): DoptError {
  const cause = stack === undefined ? {} : { cause: stack };
  switch (kind) {
    case 'user':
      return new UserError(code, message, { ...details, ...cause, exitCode });
    case 'environment':
      return new EnvironmentError(code, message, { ...details, ...cause });
    case 'external':
      return new ExternalError(code, message, { ...details, ...cause, exitCode });
    case 'bug':
      return new Bug(message, { ...details, ...cause });
    case 'other':
      return died(message, stack);
  }
}
