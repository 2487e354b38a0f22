import type { ChildProcess } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { type DoptError, EXIT, ExternalError } from '../errors.js';
import type { ChildEnvironmentOptions } from './child-environment.js';
import { openEnvelope } from './codec.js';
import { EventReader } from './event-reader.js';
import type { Interpreter, Launch } from './launch.js';
import { OutputTail } from './output-tail.js';
import type { JobEvent, MethodName, Result } from './protocol.js';
import { died, GO_ON, interrupted, notStarted, PythonFailure, throwEngineFailure } from './python-errors.js';

/** What a job reports on its way. */
export type ReportEvent = Extract<JobEvent, { type: 'progress' | 'log' | 'usage' }>;

export interface JobOptions extends Omit<ChildEnvironmentOptions, 'keepUserPaths'> {
  /** Progress and log events; heartbeats and the answer are not handed out. */
  onEvent?: (event: ReportEvent) => void;
  /** Cancels the job: SIGTERM, and SIGKILL after `graceMs`. */
  signal?: AbortSignal;
  /** A job without any event for so long is taken for hung and ended. Default 3 minutes; heartbeats come every 2 s. */
  hangAfterMs?: number;
  /** Default 10 s. */
  graceMs?: number;
  /** Everything that Python prints is appended here. */
  logFile?: string;
  /** Gets what Python printed when the process has ended; no more than its last 64 KiB. */
  onPrinted?: (text: string) => void;
}

/** How a job's process ended. */
interface JobEnd {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  startError: Error | undefined;
  /** Why we ended it, if we did. */
  stopped: 'cancel' | 'hang' | undefined;
  /** What `onEvent` threw; the job is cancelled then. */
  listenerError: unknown;
  /** Envelope of the last answer event. */
  answer: unknown;
  output: OutputTail;
  hangAfterMs: number;
}

/** The result that a process left, or the error that its end means. */
export function settle<M extends MethodName>(
  method: M,
  { python, container }: Interpreter,
  end: JobEnd,
): Result<M> {
  const output = end.output.text();
  if (end.listenerError !== undefined) throw end.listenerError;
  // An answer that arrived is the outcome, however the process ended afterwards.
  if (end.answer !== undefined) return openEnvelope(method, end.answer, output);
  if (container && !end.stopped) throwEngineFailure(method, container, end);
  if (end.startError) throw notStarted(python, end.startError);
  // Ctrl-C reaches a process that has just started before Python listens to it, and before we do.
  const told = end.exitCode === EXIT.interrupted || end.signal === 'SIGINT';
  if (end.stopped === 'cancel' || told) throw interrupted(method);
  if (end.stopped === 'hang') throw hung(method, end.hangAfterMs, output);
  throw died(method, end, { lastLines: end.output.lastLines(5), output });
}

/** A running `python -m dopt.job`. */
export interface JobProcess {
  /** How it ended; the answer that came last is in it. */
  ended: Promise<JobEnd>;
  /** Writes to its standard input. */
  send(text: string): void;
  /** Ends it: SIGTERM, and SIGKILL after a while. */
  stop(reason: 'cancel'): void;
}

/**
 * Starts a process of `dopt.job`.
 * @param onAnswer called with every answer; without it the process is asked nothing more
 * @param onEvent a listener that throws cancels the process
 */
export async function startJobProcess(
  started: Launch,
  options: JobOptions,
  onAnswer?: (answer: unknown) => void,
): Promise<JobProcess> {
  const { execa } = await import('execa');
  const { hangAfterMs = 180_000, graceMs = 10_000 } = options;
  const contained = started.events === 1;
  const child = execa(started.command, started.args, {
    env: started.env,
    extendEnv: false,
    // A container's standard input stays open as long as this process lives.
    stdio: contained ? ['pipe', 'pipe', 'pipe'] : [onAnswer ? 'pipe' : 'ignore', 'pipe', 'pipe', 'pipe'],
    buffer: false,
    reject: false,
  });
  const end: JobEnd = {
    exitCode: null,
    signal: null,
    startError: undefined,
    stopped: undefined,
    answer: undefined,
    listenerError: undefined,
    output: new OutputTail(),
    hangAfterMs,
  };
  const stop = stopper(child, end, graceMs, started.killed);
  closePipesAfterExit(child);
  const watch = watchdog(hangAfterMs, () => stop('hang'));
  const log = options.logFile === undefined ? undefined : createWriteStream(options.logFile, { flags: 'a' });
  const print = printer(end.output, log);
  const guarded = (listener: () => void) => {
    try {
      listener();
    } catch (error) {
      end.listenerError ??= error;
      stop('cancel');
    }
  };
  const reader = new EventReader(
    (event) => {
      watch.reset();
      if (event.type === 'answer') {
        end.answer = event.envelope;
        onAnswer?.(event.envelope);
      } else if (event.type !== 'heartbeat') guarded(() => options.onEvent?.(event));
    },
    (line) => print(Buffer.from(`${line}\n`)),
  );
  const cancel = () => stop('cancel');
  options.signal?.addEventListener('abort', cancel, { once: true });
  if (options.signal?.aborted) cancel(); // while the process was being started
  if (!contained) child.stdout!.on('data', print);
  child.stderr!.on('data', print);
  const events = child.stdio[started.events] as unknown as Readable;
  events.on('data', (chunk: Buffer) => reader.push(chunk));
  // Whoever writes to a process that is gone learns it from its end.
  child.stdin?.on('error', () => {});
  const finish = async (): Promise<JobEnd> => {
    try {
      const result = await child;
      end.exitCode = result.exitCode ?? null;
      end.signal = (result.signal as NodeJS.Signals | undefined) ?? null;
      end.startError =
        child.pid === undefined ? ((result.cause as Error) ?? new Error('unknown')) : undefined;
      reader.end();
      return end;
    } finally {
      watch.clear();
      stop.clear();
      options.signal?.removeEventListener('abort', cancel);
      await new Promise((resolve) => (log ? log.end(() => resolve(undefined)) : resolve(undefined)));
    }
  };
  return { ended: finish(), send: (text) => child.stdin!.write(text), stop };
}

/** execa's result waits for the pipes too; a grandchild that keeps them open may hold it up for one second only. */
function closePipesAfterExit(child: Pick<ChildProcess, 'once' | 'stdio'>): void {
  child.once('exit', () => {
    setTimeout(() => {
      for (const stream of child.stdio) stream?.destroy();
    }, 1000).unref();
  });
}

/** Feeds what Python prints to the tail and to the log file; a log that cannot be written costs only the log. */
function printer(tail: OutputTail, log: WriteStream | undefined): (chunk: Buffer) => void {
  let open = log !== undefined;
  log?.on('error', () => {
    open = false;
  });
  return (chunk) => {
    tail.push(chunk);
    if (open) log!.write(chunk);
  };
}

/** A function that ends the process once: SIGTERM lets Python finish what it writes, SIGKILL follows. */
function stopper(child: Pick<ChildProcess, 'kill'>, end: JobEnd, graceMs: number, killed: () => void) {
  let timer: NodeJS.Timeout | undefined;
  const stop = (reason: 'cancel' | 'hang') => {
    if (end.stopped) return;
    end.stopped = reason;
    child.kill('SIGTERM');
    timer = setTimeout(() => {
      child.kill('SIGKILL');
      killed();
    }, graceMs);
  };
  stop.clear = () => clearTimeout(timer);
  return stop;
}

/**
 * Calls `onSilence` when it was not reset for `limitMs`. Counted in ticks of its own, so that a machine that slept, or an
 * event loop that was busy, does not count as silence of the child.
 */
function watchdog(limitMs: number, onSilence: () => void) {
  const ticks = 10;
  let silent = 0;
  const timer = setInterval(() => {
    silent += 1;
    if (silent === ticks) onSilence();
  }, limitMs / ticks);
  return {
    reset: () => {
      silent = 0;
    },
    clear: () => clearInterval(timer),
  };
}

function hung(method: string, hangAfterMs: number, output: string): DoptError {
  const message = `Python gave no sign of life for ${hangAfterMs / 1000} s during ${method} and was ended.`;
  return new ExternalError('PYTHON_HANG', message, {
    cause: new PythonFailure(message, '', output),
    suggestions: [GO_ON],
  });
}
