import { extname } from 'node:path';
import { UserError } from '../errors.js';
import { readNpy } from './npy.js';

/** One line of a label file, its value as it is there. */
export interface LabelEntry {
  name: string;
  value: unknown;
  /** `file:line`, or the file with the name. */
  place: string;
}

/**
 * Labels without names, from a `.npy` file or a `.json` array; null when the file holds names.
 * @throws UserError LABELS_FORMAT
 */
export function parseArray(bytes: Buffer, path: string): unknown[] | null {
  const ending = extname(path).toLowerCase();
  if (ending === '.npy') {
    try {
      return Array.from(readNpy(bytes).data);
    } catch (error) {
      throw formatError(path, (error as Error).message);
    }
  }
  if (ending !== '.json') return null;
  const value = parseJson(bytes.toString('utf8'), path);
  return Array.isArray(value) ? value : null;
}

/** Names with labels, from a `.json` object, a `.csv` (a heading is passed over) or lines of `name label`. */
export function parseLabelFile(text: string, path: string): LabelEntry[] {
  const ending = extname(path).toLowerCase();
  if (ending === '.json') {
    const value = parseJson(text, path);
    if (typeof value !== 'object' || value === null)
      throw formatError(path, 'it is neither an object nor an array');
    return Object.entries(value).map(([name, label]) => ({
      name,
      value: label,
      place: `${path}: ${JSON.stringify(name)}`,
    }));
  }
  const csv = ending === '.csv';
  const pattern = csv ? /^\s*("(?:[^"]|"")*"|.*?)\s*[,;]\s*([^,;]*?)\s*$/ : /^\s*(.*\S)\s+(\S+)\s*$/;
  const entries: LabelEntry[] = [];
  lines(text).forEach((line, i) => {
    if (line.trim() === '' || line.startsWith('#')) return;
    const place = `${path}:${i + 1}`;
    const match = pattern.exec(line);
    if (!match)
      throw formatError(place, `a line is ${csv ? '"name,label"' : '"name label"'}, found "${line}"`);
    const [, name, value] = match as unknown as [string, string, string];
    entries.push({ name: unquote(name), value, place });
  });
  if (csv && isHeading(entries)) entries.shift();
  if (entries.length === 0) throw formatError(path, 'it holds no labels');
  return entries;
}

/** A first line whose label is no number although the next one's is, or whose words name columns. */
function isHeading([first, second]: readonly LabelEntry[]): boolean {
  const numeric = (entry: LabelEntry | undefined): boolean => /^-?\d/.test(String(entry?.value));
  if (first === undefined || numeric(first)) return false;
  const names = /^(file_?name|file|name|image|picture|path|sample|id)s?$/i.test(first.name);
  return names || numeric(second) || /^(label|class|category|target)/i.test(String(first.value));
}

/**
 * A class number, or with `names` the number of a class by its name.
 * @throws UserError LABELS_FORMAT
 */
export function classNumber(value: unknown, place: string, names?: readonly string[]): number {
  const named = names?.indexOf(String(value)) ?? -1;
  if (named >= 0) return named;
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0) return number;
  throw new UserError(
    'LABELS_FORMAT',
    `${place}: a label is a class number from 0 on${names ? ' or one of metric.names' : ''}, ` +
      `found ${JSON.stringify(value)}.`,
    {
      place: place.replace(/(?<=\.json): .*$/, ''),
      suggestions: [
        "Replace class names by their numbers in the model's order, or list them as metric.names in a recipe.",
      ],
    },
  );
}

/** A value as a metric of the user's takes it: a number where the text is one. */
export const anyValue = (value: unknown): unknown =>
  typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value;

export const lines = (text: string): string[] => text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);

const unquote = (name: string): string =>
  name.startsWith('"') && name.endsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;

export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw formatError(path, (error as Error).message);
  }
}

export function formatError(place: string, reason: string): UserError {
  return new UserError('LABELS_FORMAT', `Cannot read the labels in ${place}: ${reason}.`, {
    place,
    suggestions: ['Mend the file, or leave --labels out to measure the distance to the float model only.'],
  });
}
