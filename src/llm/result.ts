import { relative } from 'node:path';
import type { Result } from '../bridge/protocol.js';
import type { LlmResult, LlmScore } from '../config/llm-result.js';
import type { StageContext } from '../quantize/context.js';
import { VERSION } from '../version.js';
import type { Made } from './artifact.js';
import type { OpenedLlm } from './open.js';
import type { LlmOptions } from './options.js';
import type { Weights } from './stages.js';

/** What the stages of a run came to. */
export interface LlmPieces {
  opened: OpenedLlm;
  weights: Weights;
  distilled: Made<Result<'llmDistil'>> | null;
  ranges: Result<'llmQuantize'>['activations'];
  score: LlmScore | null;
  exports: LlmResult['exports'];
  /** `performance.now()` at its beginning. */
  started: number;
  command: readonly string[];
}

/** Activations with the least signal over noise that are told. */
const LOWEST = 20;

/** result.json of a run, without the digests of its files. */
export function assembleLlmResult(context: StageContext, options: LlmOptions, pieces: LlmPieces): LlmResult {
  const { opened, weights, distilled, ranges, score, exports, started, command } = pieces;
  const { model, plan, coverage, name } = opened;
  const solved = weights.result;
  const { samples, length, tokens, sha256 } = solved.calibration;
  const { run, environment, gpu, warnings } = context;
  return {
    version: 1,
    dopt: VERSION,
    model: {
      name,
      folder: options.model,
      architecture: model.architecture,
      family: model.family,
      blocks: model.blocks,
      parameters: model.parameters,
      sha256: model.sha256,
    },
    strategy: 'int16-4',
    effort: options.effort,
    quantized: relative(run.folder, (distilled ?? weights).folder),
    digest: (distilled ?? weights).result.digest,
    coverage,
    calibration: { files: options.calibration.files, samples, length, tokens, sha256 },
    blocks: solved.blocks.map(({ block, error, rotated, seconds }) => ({ block, error, rotated, seconds })),
    linears: solved.linears.map(({ name: layer, chosen, fallback, error, errorNearest, tokens: seen }) => ({
      name: layer,
      chosen,
      fallback,
      error,
      errorNearest,
      tokens: seen,
    })),
    activations: plan.activations && {
      ...plan.activations,
      tensors: ranges.length,
      lowest: ranges
        .flatMap(({ name: tensor, sqnr }) => (sqnr === null ? [] : [{ name: tensor, sqnr }]))
        .sort((a, b) => a.sqnr - b.sqnr)
        .slice(0, LOWEST),
    },
    distillation: distilled && {
      steps: distilled.result.steps,
      before: distilled.result.before,
      after: distilled.result.after,
      loss: options.distillation!.loss,
    },
    score,
    memory: { promised: coverage.memory.total, peak: solved.peakBytes },
    exports: exports.map((one) => ({ ...one, folder: relative(run.folder, one.folder) })),
    warnings,
    seconds: (performance.now() - started) / 1000,
    stages: run.stages,
    versions: {
      python: environment.versions.python ?? '',
      ...solved.versions,
      ...(gpu === null ? {} : { gpu: gpu.name }),
    },
    command: [...command],
    files: {},
  };
}
