import { extname } from 'node:path';
import { UserError } from '../errors.js';
import type { RelativeBox } from './detection.js';
import { readNpy } from './npy.js';

export interface LabelEntry {
  name: string;
  label: number;
}

/**
 * Labels without names, from a `.npy` file or a `.json` array; null when the file holds names.
 * @throws UserError LABELS_FORMAT
 */
export function parseArray(bytes: Buffer, path: string): number[] | null {
  const ending = extname(path).toLowerCase();
  let values: unknown[];
  if (ending === '.npy') {
    try {
      values = Array.from(readNpy(bytes).data);
    } catch (error) {
      throw formatError(path, (error as Error).message);
    }
  } else if (ending === '.json') {
    const value = parseJson(bytes.toString('utf8'), path);
    if (!Array.isArray(value)) return null;
    values = value;
  } else {
    return null;
  }
  return values.map((value, i) => classNumber(value, `${path}: element ${i}`, path));
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
      label: classNumber(label, `${path}: ${JSON.stringify(name)}`, path),
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
    const [, name, label] = match as unknown as [string, string, string];
    if (csv && i === 0 && !/^-?\d/.test(label)) return;
    entries.push({ name: unquote(name), label: classNumber(label, place, place) });
  });
  if (entries.length === 0) throw formatError(path, 'it holds no labels');
  return entries;
}

/** True boxes of a YOLO label file. */
export function parseYolo(text: string, path: string, classes: number): RelativeBox[] {
  return lines(text).flatMap((line, i) => {
    if (line.trim() === '') return [];
    const place = `${path}:${i + 1}`;
    const fields = line.trim().split(/\s+/).map(Number);
    if (fields.length !== 5 || fields.some((field) => !Number.isFinite(field))) {
      throw formatError(place, `a line is "class x y width height", found "${line.trim()}"`);
    }
    const [label, x, y, width, height] = fields as [number, number, number, number, number];
    if (classNumber(label, place, place) >= classes) {
      throw formatError(
        place,
        `class ${label} is not one of the metric's ${classes} classes (0 to ${classes - 1})`,
      );
    }
    if ([x, y, width, height].some((share) => share < 0 || share > 1)) {
      throw formatError(place, 'x, y, width and height are shares of the picture, between 0 and 1');
    }
    return [{ class: label, x, y, width, height }];
  });
}

const lines = (text: string): string[] => text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);

const unquote = (name: string): string =>
  name.startsWith('"') && name.endsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw formatError(path, (error as Error).message);
  }
}

function classNumber(value: unknown, where: string, place: string): number {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0) return number;
  throw new UserError(
    'LABELS_FORMAT',
    `${where}: a label is a class number from 0 on, found ${JSON.stringify(value)}.`,
    {
      place,
      suggestions: ["Replace class names by their numbers in the model's order."],
    },
  );
}

function formatError(place: string, reason: string): UserError {
  return new UserError('LABELS_FORMAT', `Cannot read the labels in ${place}: ${reason}.`, {
    place,
    suggestions: ['Mend the file, or leave --labels out to measure the distance to the float model only.'],
  });
}
