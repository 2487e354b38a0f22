import { DoptError, type ErrorKind, type ExitCode } from '../errors.js';
import type { Evaluation, VerifyRequest } from './request.js';

/** An error in a form that survives the way between threads, which keeps no classes. */
export interface ErrorMessage {
  kind: ErrorKind | 'other';
  code: string;
  message: string;
  exitCode: ExitCode;
  details: { expected?: string; found?: string; place?: string; suggestions: string[] };
  stack: string | undefined;
}

/** What the worker is started with. */
export interface WorkerRequest {
  request: VerifyRequest;
  /** One shared element, 1 when the worker shall stop before the next sample. */
  stopped: Int32Array;
}

/** What the worker sends to the thread that started it. */
export type WorkerMessage =
  | { type: 'progress'; done: number; total: number; message: string }
  | { type: 'result'; value: Evaluation }
  | { type: 'error'; error: ErrorMessage };

export function toMessage(error: unknown): ErrorMessage {
  const stack = error instanceof Error ? error.stack : undefined;
  if (!(error instanceof DoptError)) {
    return {
      kind: 'other',
      code: '',
      message: String(error),
      exitCode: 1,
      details: { suggestions: [] },
      stack,
    };
  }
  const { kind, code, message, exitCode, expected, found, place, suggestions } = error;
  const details: ErrorMessage['details'] = { suggestions };
  if (expected !== undefined) details.expected = expected;
  if (found !== undefined) details.found = found;
  if (place !== undefined) details.place = place;
  return { kind, code, message, exitCode, details, stack };
}
