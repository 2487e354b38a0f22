import { progressJob } from '../bridge/progress-job.js';
import { silentProgress } from '../cli/progress.js';
import type { LlmCoverage } from '../config/llm-result.js';
import { bytes, percent, seconds } from '../report/format.js';
import { coverage } from './coverage.js';
import { llmEnvironment } from './environment.js';
import { usualCalibration } from './estimate.js';
import type { LlmContext } from './in-run.js';
import type { LlmInspection } from './layer-plan.js';
import { refusalOf } from './memory.js';
import { checkModelFolder, planWidths } from './open.js';
import type { LlmOptions } from './options.js';
import { calibrationSize, checkTextFiles, countedText } from './text.js';

/** What `dopt llm plan` finds. */
export interface LlmPlan {
  model: Omit<LlmInspection, 'linears'>;
  coverage: LlmCoverage;
  /** Why the run would be refused, with --memory; null where it would not. */
  refusal: string | null;
}

/**
 * Looks at a model and says what would become of each layer, what it would take, and writes nothing.
 *
 * Rejects with UserError LLM_MODEL_NOT_FOUND, those of `checkTextFiles`, `planLayers` and `widenWithin`, and as `llmInspect` does.
 */
export async function planLlm(
  options: LlmOptions,
  { progress = silentProgress, signal }: LlmContext = {},
): Promise<LlmPlan> {
  checkModelFolder(options.model);
  checkTextFiles('--data', options.calibration.files);
  const environment = await llmEnvironment(options.profile, options.environment, (line) =>
    progress.note(line),
  );
  const run = progressJob(environment, options.threads, progress, signal);
  const { model: folder, trustRemoteCode } = options;
  const text = countedText(options.calibration);
  const model = await run('inspect', 'llmInspect', { model: folder, trustRemoteCode, text });
  const size = calibrationSize(options.calibration, usualCalibration(model), model);
  const covered = coverage(model, planWidths(model, options), size, options);
  const { linears: _, ...rest } = model;
  return { model: rest, coverage: covered, refusal: refusalOf(covered.memory, options.memory) };
}

/** The plan as text: layers that are alike in all blocks share a line. Pure. */
export function planTable({ model, coverage: plan, refusal }: LlmPlan): string {
  const kinds = new Map<string, LlmCoverage['layers']>();
  for (const layer of plan.layers) {
    const kind = layer.name.replace(/\.\d+(?=\.|$)/g, '.*');
    const key = [kind, layer.shape.join('x'), layer.bits, layer.groupSize, layer.reason].join(' ');
    kinds.set(key, [...(kinds.get(key) ?? []), layer]);
  }
  const rows = [...kinds.values()].map((layers) => {
    const { name, shape, bits, groupSize, reason } = layers[0]!;
    const sum = (of: (layer: (typeof layers)[number]) => number): number =>
      layers.reduce((all, one) => all + of(one), 0);
    return [
      name.replace(/\.\d+(?=\.|$)/g, layers.length > 1 ? '.*' : '$&'),
      String(layers.length),
      shape.join('x'),
      bits === null ? 'float' : `${bits} bits`,
      bits === null ? (reason ?? '') : groupSize === 0 ? 'row' : `groups of ${groupSize}`,
      bytes(sum((one) => one.bytes)),
      seconds(sum((one) => one.seconds)),
    ];
  });
  const { embedding, memory, calibration } = plan;
  rows.push([
    embedding.name,
    '1',
    embedding.shape.join('x'),
    embedding.bits === null ? 'float' : `${embedding.bits} bits`,
    embedding.bits === null ? '' : 'row',
    bytes(embedding.bytes),
    '',
  ]);
  const head = ['layer', 'count', 'shape', 'width', 'scales', 'size', 'time'];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  return [
    line(head),
    ...rows.map(line),
    '',
    ...plan.uncovered.map(({ name, reason }) => `float: ${name} (${reason})`),
    `${model.architecture}: ${percent(plan.covered, 2)} of the blocks' weights in integers, ${plan.meanBits.toFixed(3)} bits each with their scales; ${bytes(plan.floatBytes)} become ${bytes(plan.bytes)}.`,
    `Calibration with ${calibration.samples} samples of ${calibration.length} tokens takes about ${seconds(plan.seconds)}, and ${bytes(memory.total)} of memory (weights ${bytes(memory.weights)}, Gram matrices ${bytes(memory.gram)}, states ${bytes(memory.states)}).`,
    ...(model.rotation.possible ? [] : [`No rotation: ${model.rotation.reason}.`]),
    ...(model.tokenizer === null ? ['There is no tokenizer: token numbers are needed instead of text.'] : []),
    ...(refusal ? [`Refused: ${refusal}`] : []),
  ].join('\n');
}
