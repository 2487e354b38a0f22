import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeParams } from './codec.js';
import { type JobOptions, settle, startJobProcess } from './job-process.js';
import { type Interpreter, launch } from './launch.js';
import type { MethodName, Params, Result } from './protocol.js';
import { interrupted } from './python-errors.js';

export type { JobOptions, ReportEvent } from './job-process.js';

/**
 * Runs a method as a process of its own and resolves with its validated result.
 *
 * Rejects with the kind that Python's error names; ExternalError PYTHON_DIED or PYTHON_HANG; EnvironmentError
 * PYTHON_NOT_STARTED or CONTAINER_NOT_STARTED; UserError INTERRUPTED (exit code 75) when cancelled; Bug when a side breaks the protocol.
 */
export async function runJob<M extends MethodName>(
  environment: Interpreter,
  method: M,
  params: Params<M>,
  options: JobOptions = {},
): Promise<Result<M>> {
  if (options.signal?.aborted) throw interrupted(method);
  const request = `{"method":${JSON.stringify(method)},"params":${encodeParams(method, params)}}`;
  const folder = await mkdtemp(join(tmpdir(), 'dopt-job-'));
  try {
    const file = join(folder, 'job.json');
    await writeFile(file, request);
    const started = launch(environment, { argument: file, method, params }, options);
    const { ended } = await startJobProcess(started, options);
    const end = await ended;
    options.onPrinted?.(end.output.text());
    return settle(method, environment, end);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
