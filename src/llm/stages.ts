import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Params, Result } from '../bridge/protocol.js';
import type { LlmFormat } from '../bridge/protocol-llm.js';
import type { LlmScore } from '../config/llm-result.js';
import { type StageContext, stageJob, warn } from '../quantize/context.js';
import { significant } from '../report/format.js';
import { makeFolder } from '../run/atomic.js';
import { digestOf, fileDigest } from '../run/digest.js';
import { VERSION } from '../version.js';
import { artifactStage, DISTILLED, type Made, QUANTIZED, readArtifact } from './artifact.js';
import { solverFor } from './efforts.js';
import { inspectionKey, type OpenedLlm } from './open.js';
import type { LlmActivations, LlmDistillation, LlmOptions, LlmText } from './options.js';
import { textParams } from './text.js';

/** A tensor with less signal over noise than this, in dB, is told. */
const WARN_BELOW = 35;
/** Tokens that a sample goes on with, side by side with the float model. */
const NEW_TOKENS = 48;
/** Windows that score where nothing is said. */
const SCORED_SAMPLES = 32;

export type Weights = Made<Result<'llmQuantize'>>;
export type Ranges = Result<'llmRanges'>;

const activationParams = ({ bits, kvBits, symmetric }: LlmActivations) => ({
  bits,
  kvBits,
  symmetric,
  warnBelow: WARN_BELOW,
});

/** Digests of files, for keys. */
const textKey = async (params: { files: string[] }): Promise<unknown> => ({
  ...params,
  files: await Promise.all(params.files.map(async (file) => (await fileDigest(file)).sha256)),
});

/** Solves the weights, and the activations too where nothing changes scales after it. */
export async function solveWeights(
  context: StageContext,
  options: LlmOptions,
  { model, plan, size, coverage }: OpenedLlm,
  activations: LlmActivations | null,
): Promise<Weights> {
  const folder = join(context.run.folder, QUANTIZED);
  const calibration = textParams(options.calibration, size);
  const solver = solverFor(options.effort, options.rotate);
  const { linears, embeddingBits } = plan;
  const decides = { linears, embeddingBits, solver, activations, seed: options.seed };
  const key = {
    ...decides,
    model: inspectionKey(model),
    calibration: await textKey(calibration),
    version: VERSION,
  };
  return artifactStage(context, 'weights', key, folder, async () => {
    const result = await stageJob(
      context,
      'weights',
      'llmQuantize',
      {
        model: options.model,
        trustRemoteCode: options.trustRemoteCode,
        out: folder,
        calibration,
        linears,
        embeddingBits,
        solver,
        activations: activations && activationParams(activations),
        batch: options.batch,
        threads: options.threads,
        gpu: options.gpu,
        lockstep: coverage.memory.lockstep,
        resume: context.run.resumes,
        seed: options.seed,
      },
      ({ blocks, resumedAt }) => {
        const last = blocks.at(-1);
        const kept = resumedAt > 0 ? `, ${resumedAt} blocks kept` : '';
        return `error of the last block ${last ? significant(last.error, 3) : '–'}${kept}`;
      },
    );
    for (const warning of result.warnings) warn(context, warning);
    return result;
  });
}

/** Measures ranges of activations of a quantized model, into its folder. */
export async function measureRanges(
  context: StageContext,
  options: LlmOptions,
  { model, size }: OpenedLlm,
  artifact: { folder: string; digest: string },
  activations: LlmActivations,
): Promise<Made<Ranges>> {
  const calibration = textParams(options.calibration, size);
  const key = {
    weights: artifact.digest,
    model: inspectionKey(model),
    calibration: await textKey(calibration),
    activations,
  };
  const make = () =>
    stageJob(context, 'activations', 'llmRanges', {
      model: options.model,
      trustRemoteCode: options.trustRemoteCode,
      quantized: artifact.folder,
      calibration,
      activations: activationParams(activations),
      batch: options.batch,
      threads: options.threads,
      gpu: options.gpu,
    });
  let { value: result, digest } = await context.run.stage('activations', key, make);
  // The ranges lie in the quantized model: they are gone when that was made anew.
  if (readArtifact(artifact.folder).activations.length === 0)
    ({ value: result, digest } = await context.run.stage('activations', { ...key, again: digest }, make));
  for (const warning of result.warnings) warn(context, warning);
  return { result, folder: artifact.folder, digest: `${artifact.digest} ${digestOf(result.activations)}` };
}

/** Trains scales and norms towards the float model. */
export async function distil(
  context: StageContext,
  options: LlmOptions,
  weights: { folder: string; digest: string },
  settings: LlmDistillation,
): Promise<Made<Result<'llmDistil'>>> {
  const folder = join(context.run.folder, DISTILLED);
  const { files, samples, length, ...training } = settings;
  const text = { files, samples, length, chat: options.calibration.chat, bos: options.calibration.bos };
  const key = {
    weights: weights.digest,
    text: await textKey(text),
    training,
    seed: options.seed,
    version: VERSION,
  };
  return artifactStage(context, 'distil', key, folder, () =>
    stageJob(
      context,
      'distil',
      'llmDistil',
      {
        model: options.model,
        trustRemoteCode: options.trustRemoteCode,
        quantized: weights.folder,
        out: folder,
        text,
        ...training,
        processes: options.processes,
        top: 64,
        temperature: 1,
        heldBack: 8,
        threads: options.threads,
        gpu: options.gpu,
        resume: context.run.resumes,
        seed: options.seed,
      },
      ({ before, after }) => `divergence ${significant(before, 3)} to ${significant(after, 3)}`,
    ),
  );
}

/** Scores a quantized model against the float one. */
export async function score(
  context: StageContext,
  options: LlmOptions,
  { model, size }: OpenedLlm,
  artifact: { folder: string; digest: string },
  activations: boolean,
): Promise<LlmScore> {
  const calibrated = options.verification === null;
  const source: LlmText = options.verification ?? options.calibration;
  const length = source.length ?? size.length;
  const text = textParams(
    { ...source, samples: options.verification?.samples ?? SCORED_SAMPLES, length },
    size,
  );
  if (calibrated) {
    warn(
      context,
      'The text that calibrated also scored: give other text with --verify-data to know the loss on text that was not seen.',
    );
  }
  const { prompts } = options;
  const key = {
    quantized: artifact.digest,
    model: inspectionKey(model),
    text: await textKey(text),
    activations,
    prompts,
  };
  const { value } = await context.run.stage('verify', key, () =>
    stageJob(
      context,
      'verify',
      'llmEvaluate',
      {
        model: options.model,
        trustRemoteCode: options.trustRemoteCode,
        quantized: artifact.folder,
        text,
        activations,
        prompts,
        newTokens: NEW_TOKENS,
        batch: options.batch,
        threads: options.threads,
        gpu: options.gpu,
      },
      ({ float, quantized }) =>
        `perplexity ${significant(float.perplexity)} to ${significant(quantized!.perplexity)}, KL ${significant(quantized!.kl, 3)}`,
    ),
  );
  return scoreOf(value, source.files, { calibrated, activations });
}

/** What `llmEvaluate` found, as results tell it. */
export function scoreOf(
  { recipe, text, scored, float, quantized, samples }: Result<'llmEvaluate'>,
  files: readonly string[],
  { calibrated, activations }: { calibrated: boolean; activations: boolean },
): LlmScore {
  const { samples: windows, length, tokens, sha256 } = text;
  return {
    recipe,
    text: { files: [...files], samples: windows, length, tokens, sha256 },
    calibrated,
    activations,
    scored,
    float,
    quantized: quantized!,
    samples,
  };
}

/** Options of `llmExport` that are not the usual ones. */
export type ExportSettings = Params<'llmExport'>['options'];

/** Writes a quantized model in another format, into the run folder. */
export async function exportTo(
  context: StageContext,
  artifact: { folder: string; digest: string },
  format: LlmFormat,
  settings: ExportSettings = {},
): Promise<Result<'llmExport'> & { folder: string }> {
  const folder = join(context.run.folder, 'exports', format);
  const { value } = await context.run.stage(
    `export-${format}`,
    { artifact: artifact.digest, settings },
    async () => {
      makeFolder(join(context.run.folder, 'exports'));
      rmSync(folder, { recursive: true, force: true });
      const params = { artifact: artifact.folder, format, out: folder, options: settings };
      return stageJob(context, `export ${format}`, 'llmExport', params);
    },
  );
  for (const note of value.notes) context.progress.note(`${format}: ${note}`);
  return { ...value, folder };
}
