import type { Progress } from '../cli/progress.js';
import { type Device, placed } from './device.js';
import type { Environment } from './environments.js';
import { type ReportEvent, runJob } from './jobs.js';
import type { MethodName, Params, Result } from './protocol.js';

/** Runs a Python method as a job, shown under a title; `summary` is what stays on the screen. */
export type RunJob = <M extends MethodName>(
  title: string,
  method: M,
  params: Params<M>,
  summary?: (result: Result<M>) => string,
) => Promise<Result<M>>;

/** Jobs outside of a run: progress and warnings on the screen. Networks run on a device where there is one. */
export function progressJob(
  environment: Environment,
  threads: number,
  progress: Progress,
  signal?: AbortSignal,
  device: Device | null = null,
): RunJob {
  const options = { threads, ...(signal ? { signal } : {}) };
  return shown(progress, (method, given, onEvent) => {
    const at = placed(method, given, environment, device);
    return runJob(at.environment, method, at.params, {
      ...options,
      // There is no log file here; what the user's own code prints is for the user.
      ...(method === 'userMetric' ? { onPrinted: (text) => printed(text, progress) } : {}),
      onEvent,
    });
  });
}

function shown(
  progress: Progress,
  run: <M extends MethodName>(
    method: M,
    params: Params<M>,
    onEvent: (event: ReportEvent) => void,
  ) => Promise<Result<M>>,
): RunJob {
  return async (title, method, params, summary) => {
    const stage = progress.stage(title);
    const result = await run(method, params, (event) => {
      if (event.type === 'progress') stage.update(event.done, event.total, event.message);
      else if (event.type === 'log' && event.level === 'warning') progress.warn(event.message);
    });
    stage.done(summary?.(result));
    return result;
  };
}

function printed(text: string, progress: Progress): void {
  for (const line of text.split('\n')) if (line.trim() !== '') progress.note(line);
}
