import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { LlmFormat } from '../bridge/protocol-llm.js';
import { type StageContext, stageJob } from '../quantize/context.js';
import { diskError, writeFileAtomic } from '../run/atomic.js';
import { DISTILLED, findArtifact, readArtifact } from './artifact.js';
import { inLlmRun, type LlmContext } from './in-run.js';
import { layerFile } from './layer-file.js';
import { openLlm, stageMissing } from './open.js';
import type { LlmOptions } from './options.js';
import { writeLayerFile } from './quantize.js';
import { distil, type ExportSettings, measureRanges, solveWeights } from './stages.js';

export const ORIGINAL_STAGES = ['stage1', 'stage2', 'stage3'] as const;
export type OriginalStage = (typeof ORIGINAL_STAGES)[number];

/** What a stage of the original is asked for. */
export interface StageOptions {
  /** `resume` counts as true: stages share a folder. */
  llm: LlmOptions;
  /** dopt_config.json to write when it is not there; null for the run folder alone. */
  layerFile: string | null;
  quantParam2: boolean;
  embeddingSeparate: boolean;
  lmHeadSize: number | null;
  /** Of the weights in the files; float16 rounds them from their grid. */
  dtype: 'float32' | 'float16' | null;
}

export interface StageResult {
  stage: OriginalStage;
  out: string;
  /** Files of the original that were written. */
  files: string[];
  warnings: string[];
}

/**
 * One of the original's three stages: weights (and distillation), activations, files for the converter. They share a folder,
 * and each needs what the one before it left there; a stage that is run again with other settings is done anew.
 *
 * Rejects as `quantizeLlm` does, and with UserError LLM_STAGE_ORDER.
 */
export function runStage(
  stage: OriginalStage,
  options: StageOptions,
  context: LlmContext = {},
): Promise<StageResult> {
  return inLlmRun({ ...options.llm, resume: true }, context, async (stages) => {
    const files = await STAGES[stage](stages, options);
    await stages.run.finish({ stage, files }, await stages.run.digests(files));
    return { stage, out: stages.run.folder, files, warnings: stages.warnings };
  });
}

type Work = (context: StageContext, options: StageOptions) => Promise<string[]>;

const STAGES: Record<OriginalStage, Work> = {
  async stage1(context, options) {
    const { llm } = options;
    const opened = await openLlm(context, llm);
    await writeLayerFile(context, opened);
    if (options.layerFile !== null && !existsSync(options.layerFile)) {
      await writeFileAtomic(
        options.layerFile,
        `${JSON.stringify(layerFile(opened.model, opened.plan), null, 1)}\n`,
      );
      context.progress.note(
        `${options.layerFile} was written: what was done to each layer; edit it and run again to change it`,
      );
    }
    const weights = await solveWeights(context, llm, opened, null);
    if (llm.distillation) await distil(context, llm, weights, llm.distillation);
    else rmSync(join(context.run.folder, DISTILLED), { recursive: true, force: true });
    return originalFiles(context, options, 1);
  },

  async stage2(context, options) {
    const folder = findArtifact(context.run.folder);
    if (folder === context.run.folder) throw stageMissing(context.run.folder, 'stage1');
    const { llm } = options;
    const opened = await openLlm(context, llm);
    const activations = opened.plan.activations ?? { bits: 16, kvBits: 16, symmetric: true };
    await measureRanges(context, llm, opened, { folder, digest: readArtifact(folder).digest }, activations);
    return originalFiles(context, options, 2);
  },

  async stage3(context, options) {
    const folder = findArtifact(context.run.folder);
    if (folder === context.run.folder) throw stageMissing(context.run.folder, 'stage1');
    if (readArtifact(folder).activations.length === 0) throw stageMissing(context.run.folder, 'stage2');
    return originalFiles(context, options, 3);
  },
};

const FORMAT: LlmFormat = 'original';

/** Writes the files of a stage beside the run's own; they appear whole. */
async function originalFiles(
  context: StageContext,
  { quantParam2, embeddingSeparate, lmHeadSize, dtype }: StageOptions,
  stage: number,
): Promise<string[]> {
  const { folder } = context.run;
  const artifact = findArtifact(folder);
  const scratch = mkdtempSync(join(folder, '.files-'));
  try {
    const out = join(scratch, 'files');
    const options: ExportSettings = { dtype, stages: [stage], quantParam2, embeddingSeparate, lmHeadSize };
    const { notes } = await stageJob(context, 'files', 'llmExport', {
      artifact,
      format: FORMAT,
      out,
      options,
    });
    for (const note of notes) context.progress.note(note);
    const names = readdirSync(out).sort();
    for (const name of names) renameSync(join(out, name), join(folder, name));
    return names;
  } catch (error) {
    throw diskError(error, folder);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
