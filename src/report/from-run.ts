import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ANALYSIS, analysisSchema } from '../config/analysis.js';
import { planSchema } from '../config/plan.js';
import { quantParamsSchema } from '../config/quant-params.js';
import { resultSchema } from '../config/result.js';
import { UserError } from '../errors.js';
import { loadObserved } from '../quantize/observe.js';
import { refuseLlmRun } from '../run/history.js';
import { readRunFile } from '../run/run-file.js';
import { reportInput } from './input.js';
import type { ReportInput } from './types.js';

/** Name of the report in a run folder. */
export const REPORT = 'report.html';

/**
 * What the report of a finished run shows, from its folder. Histograms are left out where the calibration stage was
 * removed to save room.
 * @throws UserError RUN_NOT_FINISHED, RUN_OF_LANGUAGE_MODEL, RUN_FILE (with the file)
 */
export function readRun(folder: string): ReportInput {
  if (!existsSync(join(folder, 'result.json'))) {
    throw new UserError('RUN_NOT_FINISHED', `${folder} holds no finished run: it has no result.json.`, {
      place: folder,
      suggestions: ['Name the folder given as --out, or finish the run: dopt quantize … --resume'],
    });
  }
  refuseLlmRun(folder);
  const result = readRunFile(join(folder, 'result.json'), resultSchema);
  // The report cannot list its own digest, so that a report made anew is the same as the first.
  delete result.files[REPORT];
  const plan = readRunFile(join(folder, 'plan.json'), planSchema);
  const params = readRunFile(join(folder, 'quant_params.json'), quantParamsSchema);
  const analyzed = join(folder, ANALYSIS);
  const analysis = existsSync(analyzed) ? readRunFile(analyzed, analysisSchema) : null;
  const stage = join(folder, 'stages', 'observe');
  if (!existsSync(join(stage, 'statistics.json'))) {
    const statistics = { version: 1 as const, samples: 0, skipped: [], warnings: [], tensors: [] };
    return reportInput({ result, plan, params, statistics, counts: () => undefined, analysis });
  }
  const { statistics, observed } = loadObserved(
    join(stage, 'statistics.json'),
    join(stage, 'statistics.safetensors'),
  );
  const counts = (tensor: string): BigUint64Array | undefined => observed.get(tensor)?.histogram.counts;
  return reportInput({ result, plan, params, statistics, counts, analysis });
}
