import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { UserError } from '../errors.js';

const REPAIR = [
  'Repeat the command of the run with --resume: what is missing or changed is made again.',
  'Made by another version of dopt? Run it again into a new folder.',
];

/**
 * A JSON file that a run has written, checked: somebody may have edited it, a copy may be cut, another version has other files.
 * @throws UserError RUN_FILE with the first thing that is wrong with it
 */
export function readRunFile<S extends z.ZodType>(path: string, schema: S): z.output<S> {
  try {
    return schema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/**
 * One line of a file of JSON lines that a run has written.
 * @param place of the line, `FILE:LINE`
 * @throws UserError RUN_FILE
 */
export function parseRunLine<S extends z.ZodType>(text: string, place: string, schema: S): z.output<S> {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw unreadable(place, cause);
  }
}

function unreadable(place: string, cause: unknown): UserError {
  return new UserError('RUN_FILE', `Cannot read ${place}: ${wordsOf(cause)}.`, {
    place,
    cause,
    suggestions: REPAIR,
  });
}

function wordsOf(cause: unknown): string {
  if (!(cause instanceof z.ZodError)) return (cause as Error).message.replace(/\.$/, '');
  const [issue] = cause.issues;
  const at = issue?.path.join('.');
  return `${at ? `${at}: ` : ''}${issue?.message ?? 'it has another form'}`;
}
