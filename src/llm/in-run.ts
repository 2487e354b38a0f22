import { requireDriver, requireGpu } from '../bridge/gpu.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import type { StageContext } from '../quantize/context.js';
import { Run } from '../run/run.js';
import { VERSION } from '../version.js';
import { llmEnvironment } from './environment.js';
import type { LlmOptions } from './options.js';

/** What a service of language models gets beside its options. */
export interface LlmContext {
  progress?: Progress;
  signal?: AbortSignal;
  /** Command line for the manifest and the report, program name first. */
  command?: readonly string[];
  /** What is already known to be worth a warning. */
  warnings?: readonly string[];
}

/**
 * Opens the run folder of the options, works in it and gives it free; after an error the folder can be resumed. Rejects as
 * `Run.open`, the environment and the work do.
 */
export async function inLlmRun<T>(
  options: LlmOptions,
  { progress = silentProgress, signal, command = ['dopt', 'llm'], warnings = [] }: LlmContext,
  work: (context: StageContext) => Promise<T>,
): Promise<T> {
  const { model, calibration, verification, distillation, out, resume, threads } = options;
  requireDriver(options.gpu);
  const run = await Run.open(out, {
    resume,
    inputs: [model, ...calibration.files, ...(verification?.files ?? []), ...(distillation?.files ?? [])],
    command,
    version: VERSION,
  });
  try {
    const say = (line: string): void => progress.note(line);
    const environment = await llmEnvironment(options.profile, options.environment, say, options.gpu !== null);
    const gpu = await requireGpu(environment, 'torch', options.gpu, signal);
    if (gpu) say(`device: ${gpu.name}`);
    return await work({ run, environment, gpu, threads, progress, signal, warnings: [...warnings] });
  } catch (error) {
    await run.abandon(error);
    throw error;
  }
}
