import { UserError } from '../errors.js';

/** One thing wrong with a text file, at a place counted from 1. */
export interface Problem {
  line: number;
  column: number;
  message: string;
  expected?: string | undefined;
  found?: string | undefined;
  suggestions?: string[];
}

/** `file:line:column` */
export const placeText = (path: string, { line, column }: { line: number; column: number }): string =>
  `${path}:${Math.max(line, 1)}:${Math.max(column, 1)}`;

/**
 * The first problem of a file as the error; the others are listed under its message.
 * @param advice the step that always helps, named last
 */
export function problemsError(
  code: string,
  path: string,
  problems: readonly Problem[],
  advice: string,
): UserError {
  const [first, ...others] = [...problems].sort((a, b) => a.line - b.line || a.column - b.column) as [
    Problem,
    ...Problem[],
  ];
  const message = [
    `${placeText(path, first)} ${first.message}.`,
    ...others.slice(0, 9).map((problem) => `  ${placeText(path, problem)} ${problem.message}.`),
    ...(others.length > 9 ? [`  and ${others.length - 9} more.`] : []),
  ].join('\n');
  return new UserError(code, message, {
    place: placeText(path, first),
    ...(first.expected && { expected: first.expected }),
    ...(first.found && { found: first.found }),
    suggestions: [...new Set([first, ...others].flatMap((one) => one.suggestions ?? [])), advice],
  });
}

/** A piece of a file, short enough for a message. */
export const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}...` : text);
