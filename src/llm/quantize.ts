import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LlmResult } from '../config/llm-result.js';
import type { StageContext } from '../quantize/context.js';
import { renderLlmReport } from '../report/llm/page.js';
import { VERSION } from '../version.js';
import { inLlmRun, type LlmContext } from './in-run.js';
import { layerFile } from './layer-file.js';
import { type OpenedLlm, openLlm } from './open.js';
import type { LlmOptions } from './options.js';
import { assembleLlmResult, type LlmPieces } from './result.js';
import { distil, exportTo, measureRanges, score, solveWeights } from './stages.js';

/** Name of the layers' file in a run folder. */
export const LAYER_FILE = 'dopt_config.json';

/**
 * Quantizes a language model in one go: plan, weights with activations, distillation where it is asked for, scoring, other
 * formats, report. Each stage leaves its files in the run folder and is not repeated with `resume`; weights go on behind the
 * last finished block.
 *
 * Rejects with one of the four kinds of src/errors.ts; nothing half-written ever has a final name.
 */
export function quantizeLlm(options: LlmOptions, context: LlmContext = {}): Promise<LlmResult> {
  return inLlmRun(options, context, async (stages) => {
    const started = performance.now();
    const opened = await openLlm(stages, options);
    await writeLayerFile(stages, opened);
    const { activations } = opened.plan;
    // Distillation changes scales, and what comes of them: ranges are measured behind it then.
    const together = options.distillation === null ? activations : null;
    const weights = await solveWeights(stages, options, opened, together);
    const distilled = options.distillation && (await distil(stages, options, weights, options.distillation));
    const last = distilled ?? weights;
    const ranges =
      distilled && activations ? await measureRanges(stages, options, opened, distilled, activations) : null;
    const artifact = ranges ?? last;
    const scored = options.verify
      ? await score(stages, options, opened, artifact, activations !== null)
      : null;
    const exports = [];
    for (const format of options.exports) {
      const { folder, float, notes } = await exportTo(stages, artifact, format);
      exports.push({ format, folder, float: float.length, notes });
    }
    return finish(stages, options, {
      opened,
      weights,
      distilled,
      ranges: ranges?.result.activations ?? weights.result.activations,
      score: scored,
      exports,
      started,
      command: context.command ?? [],
    });
  });
}

/** Looks at a model and plans it, and writes nothing but the layers' file where one is asked for. */
export async function writeLayerFile({ run }: StageContext, { model, plan }: OpenedLlm): Promise<void> {
  await run.write(LAYER_FILE, `${JSON.stringify(layerFile(model, plan), null, 1)}\n`);
}

/** Publishes result and report, and marks the run as finished. */
async function finish(context: StageContext, options: LlmOptions, pieces: LlmPieces): Promise<LlmResult> {
  const { run } = context;
  const result: LlmResult = assembleLlmResult(context, options, pieces);
  await run.write('report.html', renderLlmReport(result));
  result.files = await run.digests([LAYER_FILE, 'report.html', join(result.quantized, 'index.json')]);
  await run.write('result.json', `${JSON.stringify(result, null, 1)}\n`);
  await run.finish({ dopt: VERSION, versions: result.versions, digest: result.digest }, result.files);
  return result;
}

/** Whether a folder holds a run of a language model. */
export const isLlmRun = (folder: string): boolean => existsSync(join(folder, LAYER_FILE));
