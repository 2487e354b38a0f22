import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Environment } from '../bridge/environments.js';
import { requireDriver, requireGpu } from '../bridge/gpu.js';
import { progressJob } from '../bridge/progress-job.js';
import type { Result } from '../bridge/protocol.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import { UserError } from '../errors.js';
import { findArtifact, holdsArtifact, readArtifact } from './artifact.js';
import { llmEnvironment } from './environment.js';
import type { LlmContext } from './in-run.js';
import { checkModelFolder } from './open.js';
import type { LlmModelOptions, LlmText } from './options.js';
import { checkTextFiles, textParams } from './text.js';

/** A model to look at: a float one, or a quantized one with the float one that it was made of. */
export interface LlmSubject {
  model: string;
  /** null: the float model alone. */
  quantized: string | null;
  /** Whether the quantized model has grids of activations. */
  activations: boolean;
}

/**
 * What a path means: a model folder, a run folder or the folder of a quantized model.
 * @param float the float model where it is not where it was when it was quantized; null for where it was
 * @throws UserError LLM_MODEL_NOT_FOUND, LLM_NOT_QUANTIZED, LLM_FLOAT_MODEL
 */
export function subjectOf(path: string, float: string | null): LlmSubject {
  const place = resolve(path);
  const folder = findArtifact(place);
  let artifact: ReturnType<typeof readArtifact>;
  try {
    artifact = readArtifact(folder);
  } catch (error) {
    // A run or a quantized model that is damaged is no float model that lacks its settings.
    if (float !== null || (holdsArtifact(folder) && !existsSync(join(place, 'config.json')))) throw error;
    checkModelFolder(place);
    return { model: place, quantized: null, activations: false };
  }
  const model = float ?? artifact.meta.model;
  if (typeof model !== 'string') {
    throw new UserError('LLM_FLOAT_MODEL', `${folder} does not say which model it was made of.`, {
      place: folder,
      suggestions: ['Give the folder of the float model: --model DIR'],
    });
  }
  checkModelFolder(model);
  return { model, quantized: folder, activations: artifact.activations.length > 0 };
}

export interface LlmEvaluateOptions extends Omit<LlmModelOptions, 'model'> {
  subject: LlmSubject;
  text: LlmText;
  /** Round activations, too. */
  activations: boolean;
  prompts: string[];
  newTokens: number;
}

/** Windows of a text that score where nothing is said. */
const USUAL = { samples: 64, length: 512 };

/** Scores a model, beside the float one where it is quantized. Rejects as `checkTextFiles` and `llmEvaluate` do. */
export async function evaluateLlm(
  options: LlmEvaluateOptions,
  { progress = silentProgress, signal }: LlmContext = {},
): Promise<Result<'llmEvaluate'>> {
  const { subject, text, trustRemoteCode, threads, gpu, batch, prompts, newTokens } = options;
  checkTextFiles('--data', text.files);
  const environment = await environmentFor(options, progress, signal);
  const run = progressJob(environment, threads, progress, signal);
  return run('evaluate', 'llmEvaluate', {
    model: subject.model,
    trustRemoteCode,
    quantized: subject.quantized,
    text: textParams(text, USUAL),
    activations: options.activations && subject.activations,
    prompts,
    newTokens,
    batch,
    threads,
    gpu,
  });
}

/** The Python that runs the models, which has the GPU that was asked for. */
async function environmentFor(
  { profile, environment: kind, gpu }: Pick<LlmModelOptions, 'profile' | 'environment' | 'gpu'>,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<Environment> {
  requireDriver(gpu);
  const environment = await llmEnvironment(profile, kind, (line) => progress.note(line), gpu !== null);
  await requireGpu(environment, 'torch', gpu, signal);
  return environment;
}

export interface LlmGenerateOptions extends Omit<LlmModelOptions, 'model' | 'batch'> {
  subject: LlmSubject;
  activations: boolean;
  prompts: string[];
  chat: boolean;
  newTokens: number;
}

/** Goes on with texts. Rejects as `llmGenerate` does. */
export async function generateLlm(
  options: LlmGenerateOptions,
  { progress = silentProgress, signal }: LlmContext = {},
): Promise<Result<'llmGenerate'>> {
  const { subject, trustRemoteCode, threads, gpu, prompts, chat, newTokens } = options;
  const environment = await environmentFor(options, progress, signal);
  const run = progressJob(environment, threads, progress, signal);
  return run('generate', 'llmGenerate', {
    model: subject.model,
    trustRemoteCode,
    quantized: subject.quantized,
    activations: options.activations && subject.activations,
    prompts,
    chat,
    newTokens,
    threads,
    gpu,
  });
}
