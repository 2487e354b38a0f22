import { type Device, placed } from '../bridge/device.js';
import type { Environment } from '../bridge/environments.js';
import type { Gpu } from '../bridge/gpu.js';
import { runJob } from '../bridge/jobs.js';
import type { RunJob } from '../bridge/progress-job.js';
import type { MethodName, Params, Result } from '../bridge/protocol.js';
import type { Progress } from '../cli/progress.js';
import type { Run } from '../run/run.js';

/** What every stage of a run works with. */
export interface StageContext {
  run: Run;
  environment: Environment;
  /** The GPU that runs a language model; null for the processor. */
  gpu: Gpu | null;
  /** What runs networks over samples where `--device cuda` asked for it; the processor where it is absent or null. */
  device?: Device | null;
  threads: number;
  progress: Progress;
  signal: AbortSignal | undefined;
  /** Collects sentences for the report. */
  warnings: string[];
}

/** Runs a Python job for a stage: progress on the screen, output in the run's python.log, warnings collected. */
export async function stageJob<M extends MethodName>(
  context: StageContext,
  title: string,
  method: M,
  params: Params<M>,
  summary?: (result: Result<M>) => string,
): Promise<Result<M>> {
  const shown = context.progress.stage(title);
  const at = placed(method, params, context.environment, context.device);
  const result = await runJob(at.environment, method, at.params, {
    threads: context.threads,
    logFile: `${context.run.folder}/python.log`,
    ...(context.signal ? { signal: context.signal } : {}),
    onEvent: (event) => {
      if (event.type === 'progress') shown.update(event.done, event.total, event.message);
      else if (event.type === 'usage') context.run.used(event.peakBytes);
      else if (event.level === 'warning') warn(context, event.message);
    },
  });
  shown.done(summary?.(result));
  return result;
}

/** Runs jobs of a stage for a metric of the user's. */
export const metricJob =
  (context: StageContext): RunJob =>
  (title, method, params, summary) =>
    stageJob(context, title, method, params, summary);

/** Says a warning now and keeps it for the report; once, though several stages read the same samples. */
export function warn(context: StageContext, message: string): void {
  if (context.warnings.includes(message)) return;
  context.warnings.push(message);
  context.progress.warn(message);
}
