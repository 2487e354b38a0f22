import { Bug, type DoptError, EnvironmentError, EXIT, ExternalError, UserError } from '../errors.js';
import type { PythonError } from './protocol.js';

/** What Python itself said; the cause of the error that the user sees, kept for the log. */
export class PythonFailure extends Error {
  override readonly name = 'PythonFailure';
  /** Python's traceback, or '' when the process died without one. */
  readonly traceback: string;
  /** Last 64 KiB that the process printed. */
  readonly output: string;

  constructor(message: string, traceback: string, output: string) {
    super(message);
    this.traceback = traceback;
    this.output = output;
  }
}

/** Code that python/dopt/envelope.py gives an exception that no code of ours raised. */
const UNFORESEEN = 'PYTHON_EXCEPTION';

/** The error for an error envelope: one of the four kinds, with Python's code, place and suggestions. */
export function fromEnvelope(method: string, error: PythonError, output = ''): DoptError {
  if (error.code === 'CANCELLED') return interrupted(method);
  const cause = new PythonFailure(`${error.type}: ${error.message}`, error.traceback, output);
  const suggestions = error.suggestions.length > 0 ? { suggestions: error.suggestions } : {};
  const place = error.place === null ? {} : { place: error.place };
  const found = error.found === undefined ? {} : { found: error.found };
  const details = { cause, ...suggestions, ...place, ...found };
  switch (error.kind) {
    case 'user':
      return new UserError(error.code, error.message, details);
    case 'environment':
      return new EnvironmentError(error.code, error.message, details);
    case 'external':
      // An error of our own names its file and its reason; only what nobody foresaw needs to be told where it came from.
      return new ExternalError(
        error.code,
        error.code === UNFORESEEN ? `Python failed in ${method}: ${error.message}` : error.message,
        details,
      );
    case 'bug':
      return new Bug(`${error.code} in ${method}: ${error.message}`, details);
  }
}

/** How to go on; `dopt search` does so without being told. */
export const GO_ON = 'What is finished is kept: repeat the command, with --resume where it has that flag.';

/** Work that was stopped on request: exit code 75, what is finished is kept. */
export function interrupted(method: string): DoptError {
  return new UserError('INTERRUPTED', `${method} was interrupted.`, {
    exitCode: EXIT.interrupted,
    suggestions: [GO_ON],
  });
}

/** A Python process that ended although nobody asked it to. `lastLines` and `output` are what it printed. */
export function died(
  method: string,
  status: { exitCode: number | null; signal: NodeJS.Signals | null },
  printed: { lastLines: string; output: string },
): DoptError {
  const how = status.signal === null ? `with exit code ${status.exitCode}` : `by ${status.signal}`;
  const message = `Python ended ${how} during ${method}.`;
  const memory = 'The system may have run out of memory: close other programs or use smaller samples.';
  return new ExternalError('PYTHON_DIED', message, {
    ...(printed.lastLines === '' ? {} : { found: printed.lastLines }),
    cause: new PythonFailure(message, '', printed.output),
    suggestions: [
      ...(status.signal === 'SIGKILL' ? [memory] : []),
      GO_ON,
      'Run `dopt env doctor` to check the Python environment.',
    ],
  });
}

/**
 * What an engine's exit code says of a container that gave no answer: 125 to 127 that it could not be started, 128 and a
 * signal's number that its process was ended by it. Returns where it is neither.
 */
export function throwEngineFailure(
  method: string,
  { engine, image }: { engine: { command: string }; image: string },
  end: {
    exitCode: number | null;
    startError: Error | undefined;
    output: { lastLines(count: number): string; text(): string };
  },
): void {
  const [lastLines, output] = [end.output.lastLines(5), end.output.text()];
  const refused = end.exitCode !== null && end.exitCode >= 125 && end.exitCode <= 127;
  if (end.startError || refused) {
    throw new EnvironmentError(
      'CONTAINER_NOT_STARTED',
      `${engine.command} could not start a container of ${image}.`,
      {
        found: end.startError?.message ?? lastLines,
        cause: new PythonFailure(`${method} in ${image}`, '', output),
        suggestions: [
          `Check the engine: ${engine.command} run --rm ${image} true`,
          'GPUs need the NVIDIA Container Toolkit; unset DOPT_CONTAINER_GPUS to run without.',
          'Run without containers: leave --env docker out.',
        ],
      },
    );
  }
  if (end.exitCode === 128 + 9) {
    throw died(method, { exitCode: null, signal: 'SIGKILL' }, { lastLines, output });
  }
}

/** An interpreter that could not be started at all. */
export function notStarted(python: string, cause: Error): DoptError {
  return new EnvironmentError('PYTHON_NOT_STARTED', `Cannot start Python at ${python}: ${cause.message}.`, {
    place: python,
    cause,
    suggestions: [
      'Run `dopt env doctor` to see which interpreters are there.',
      'Make the environment anew: `dopt env create --force`.',
    ],
  });
}
