/**
 * Every error a user can meet, in four kinds, each with a code, an exit code and the next step to take.
 *
 * `exitCode` and `oclif.exit` are both set: oclif reads the first with `--json`, the second without.
 */

/** Process exit codes; part of the public surface. */
export const EXIT = {
  ok: 0,
  bug: 1,
  usage: 2,
  invalidInput: 3,
  environment: 4,
  framework: 5,
  native: 6,
  verification: 7,
  interrupted: 75,
  sigint: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface ErrorDetails {
  /** What was expected and what was found, when a message alone does not say it. */
  expected?: string;
  found?: string;
  /** `file`, `file:line` or `file:line:column` that the error is about. */
  place?: string;
  /** What the user can do next, most likely step first. */
  suggestions?: string[];
  cause?: unknown;
}

export type ErrorKind = 'user' | 'environment' | 'external' | 'bug';

/** Base of the four kinds. `code` is stable (`DATA_EMPTY_FOLDER`), the text is not. */
export abstract class DoptError extends Error {
  abstract readonly kind: ErrorKind;
  readonly code: string;
  readonly exitCode: ExitCode;
  readonly oclif: { exit: number };
  readonly suggestions: string[];
  readonly expected: string | undefined;
  readonly found: string | undefined;
  readonly place: string | undefined;

  constructor(code: string, message: string, exitCode: ExitCode, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.exitCode = exitCode;
    this.oclif = { exit: exitCode };
    this.suggestions = details.suggestions ?? [];
    this.expected = details.expected;
    this.found = details.found;
    this.place = details.place;
  }

  /** The object printed under `error` with `--json`. */
  toJSON(): Record<string, unknown> {
    return {
      kind: this.kind,
      code: this.code,
      exitCode: this.exitCode,
      message: this.message,
      expected: this.expected,
      found: this.found,
      place: this.place,
      suggestions: this.suggestions,
    };
  }
}

/** The user's input, flag or file is wrong and the user can mend it. */
export class UserError extends DoptError {
  readonly kind = 'user';
  constructor(code: string, message: string, details: ErrorDetails & { exitCode?: ExitCode } = {}) {
    super(code, message, details.exitCode ?? EXIT.invalidInput, details);
  }
}

/** The machine lacks something: an interpreter, a package, disk space, a permission. */
export class EnvironmentError extends DoptError {
  readonly kind = 'environment';
  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(code, message, EXIT.environment, details);
  }
}

/** A framework or the native core failed while doing what it was asked. */
export class ExternalError extends DoptError {
  readonly kind = 'external';
  constructor(code: string, message: string, details: ErrorDetails & { exitCode?: ExitCode } = {}) {
    super(code, message, details.exitCode ?? EXIT.framework, details);
  }
}

/** An invariant of our own does not hold. */
export class Bug extends DoptError {
  readonly kind = 'bug';
  constructor(message: string, details: ErrorDetails = {}) {
    super('BUG', message, EXIT.bug, {
      suggestions: ['This is a defect in dopt: please report it with the run folder attached.'],
      ...details,
    });
  }
}
