import { Bug, ExternalError } from '../errors.js';
import { type ChildEnvironmentOptions, childEnvironment } from './child-environment.js';
import { decodeResult, encodeParams } from './codec.js';
import { runJob } from './jobs.js';
import type { Interpreter } from './launch.js';
import type { MethodName, Params, Result } from './protocol.js';
import { interrupted, PythonFailure } from './python-errors.js';
import { PythonProcess } from './python-process.js';

export interface RuntimeOptions extends Omit<ChildEnvironmentOptions, 'keepUserPaths'> {
  /** Time between asking a call to stop and ending the process. Default 2 s. */
  graceMs?: number;
}

export interface InvokeOptions {
  /** Longest time the call itself may take, not counting the wait for earlier ones. Default 2 minutes. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/**
 * A Python interpreter for short calls.
 *
 * It starts with the first call and again after it died; calls run one after another. Close it in `finally` (or with
 * `await using`). Several runtimes, of several environments, live side by side in one process.
 */
export class PythonRuntime implements AsyncDisposable {
  readonly #environment: Interpreter;
  readonly #options: RuntimeOptions;
  #process: PythonProcess | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(environment: Interpreter, options: RuntimeOptions = {}) {
    this.#environment = environment;
    this.#options = options;
  }

  /** Process id of the running interpreter, if any. */
  get pid(): number | undefined {
    return this.#process?.alive ? this.#process.pid : undefined;
  }

  /**
   * Calls a method and resolves with its validated result.
   *
   * Rejects with the kind that Python's error names; with ExternalError PYTHON_DIED or PYTHON_TIMEOUT, EnvironmentError
   * PYTHON_NOT_STARTED, UserError INTERRUPTED (exit code 75) after an abort, and Bug when either side breaks the protocol.
   */
  invoke<M extends MethodName>(
    method: M,
    params: Params<M>,
    options: InvokeOptions = {},
  ): Promise<Result<M>> {
    const run = this.#last.then(() => this.#invoke(method, params, options));
    this.#last = run.catch(() => {});
    return run;
  }

  /** Ends the interpreter; a call that runs is rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#process?.kill();
    this.#process = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #invoke<M extends MethodName>(
    method: M,
    params: Params<M>,
    options: InvokeOptions,
  ): Promise<Result<M>> {
    if (this.#closed) throw new Bug(`${method} was called on a closed Python runtime.`);
    if (options.signal?.aborted) throw interrupted(method);
    // A container keeps no channel open between calls; each is a job of its own.
    if (this.#environment.container) return this.#asJob(method, params, options);
    const request = encodeParams(method, params);
    if (!this.#process?.alive) this.#process = this.#start();
    const process = this.#process;
    const stop = this.#watch(process, options);
    try {
      const text = await process.invoke(method, request);
      return decodeResult(method, text, process.output);
    } catch (error) {
      if (stop.reason === 'abort') throw interrupted(method);
      if (stop.reason === 'timeout')
        throw timedOut(method, options.timeoutMs ?? DEFAULT_TIMEOUT_MS, process.output);
      throw error instanceof Error && error.constructor.name === 'PythonException'
        ? notImported(error, process.output)
        : error;
    } finally {
      stop.dispose();
    }
  }

  #asJob<M extends MethodName>(
    method: M,
    params: Params<M>,
    { signal, timeoutMs: hangAfterMs = DEFAULT_TIMEOUT_MS }: InvokeOptions,
  ): Promise<Result<M>> {
    return runJob(this.#environment, method, params, {
      ...this.#options,
      hangAfterMs,
      ...(signal ? { signal } : {}),
    });
  }

  #start(): PythonProcess {
    const keepUserPaths = this.#environment.kind === 'system';
    return new PythonProcess(this.#environment.python, childEnvironment({ ...this.#options, keepUserPaths }));
  }

  /** Stops the call on timeout or abort: first by a signal that Python answers, then by ending the process. */
  #watch(process: PythonProcess, { timeoutMs = DEFAULT_TIMEOUT_MS, signal }: InvokeOptions) {
    const state: { reason?: 'abort' | 'timeout'; dispose(): void } = { dispose: () => {} };
    let grace: NodeJS.Timeout | undefined;
    const stop = (reason: 'abort' | 'timeout') => {
      if (state.reason) return;
      state.reason = reason;
      process.cancel();
      grace = setTimeout(() => void process.kill(), this.#options.graceMs ?? 2000);
    };
    const timer = Number.isFinite(timeoutMs) ? setTimeout(() => stop('timeout'), timeoutMs) : undefined;
    const abort = () => stop('abort');
    signal?.addEventListener('abort', abort, { once: true });
    state.dispose = () => {
      clearTimeout(timer);
      clearTimeout(grace);
      signal?.removeEventListener('abort', abort);
    };
    return state;
  }
}

const DEFAULT_TIMEOUT_MS = 120_000;

function timedOut(method: string, timeoutMs: number, output: string): ExternalError {
  const message = `Python did not finish ${method} within ${timeoutMs / 1000} s.`;
  return new ExternalError('PYTHON_TIMEOUT', message, {
    cause: new PythonFailure(message, '', output),
    suggestions: ['The machine may be busy: try again, or close other programs.'],
  });
}

function notImported(error: Error, output: string): ExternalError {
  return new ExternalError('PYTHON_WORKER', 'The Python side of dopt could not be loaded.', {
    cause: new PythonFailure('import of dopt.worker failed', error.stack ?? '', output),
    suggestions: ['Run `dopt env doctor`; reinstall dopt if files are missing.'],
  });
}
