import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import type { Metric } from '../config/metric.js';
import { UserError } from '../errors.js';
import type { RelativeBox } from './detection.js';
import { type LabelEntry, parseArray, parseLabelFile, parseYolo } from './label-files.js';
import { nameIndex } from './names.js';

/** A sample that needs a label. */
export interface SampleKey {
  /** As `listSamples` names it: path relative to the data folder, or `file#row`. */
  name: string;
  /** Position in the listing of its data source: its row in an array of labels. */
  index: number;
}

/** Labels of the scored samples, in their order. */
export type Labels =
  | { kind: 'classification'; classes: number[] }
  /** One file with a class map a sample. */
  | { kind: 'segmentation'; files: string[] }
  | { kind: 'detection'; boxes: RelativeBox[][] };

/**
 * Reads the labels of samples.
 *
 * Classification: a text file with `name label` on each line, a `.csv` with `name,label`, a `.json` object `{name: label}`
 * or array, a `.npy` array aligned with the listing, or the folder whose sub-folders are the classes (their names as
 * class numbers when all are numbers, else their place in code-point order). Segmentation: a folder of PNG or `.npy`
 * class maps. Detection: a folder of YOLO `.txt` files, `class x y width height` a line; a picture without one has no
 * objects. Names match by relative path, with or without extension, else by base name, with or without it.
 *
 * @throws UserError LABELS_NOT_FOUND, LABELS_FORMAT (with file:line), LABELS_MISSING (with the samples)
 */
export async function readLabels(
  path: string,
  metric: Metric,
  samples: readonly SampleKey[],
): Promise<Labels> {
  const folder = await isFolder(path);
  if (metric.kind === 'classification') {
    const classes = folder ? await folderClasses(path, samples) : await fileClasses(path, samples);
    return { kind: 'classification', classes };
  }
  if (!folder) {
    const files =
      metric.kind === 'segmentation' ? 'class maps, one a picture' : 'YOLO .txt files, one a picture';
    throw new UserError(
      'LABELS_FORMAT',
      `${path} is a file; ${metric.kind} labels are a folder of ${files}.`,
      {
        place: path,
        suggestions: ['Name the folder: --labels FOLDER'],
      },
    );
  }
  if (metric.kind === 'segmentation') {
    const files = await filesFor(path, ['.png', '.npy'], samples);
    return { kind: 'segmentation', files: complete(files, samples, path) };
  }
  const files = await filesFor(path, ['.txt'], samples);
  if (files.every((file) => file === undefined)) complete(files, samples, path);
  const boxes = await Promise.all(
    files.map(async (file) => (file ? parseYolo(await readFile(file, 'utf8'), file, metric.classes) : [])),
  );
  return { kind: 'detection', boxes };
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw new UserError('LABELS_NOT_FOUND', `Cannot open the labels ${path}: ${(error as Error).message}.`, {
      place: path,
      cause: error,
      suggestions: ['Check the path given with --labels.'],
    });
  }
}

async function fileClasses(path: string, samples: readonly SampleKey[]): Promise<number[]> {
  const bytes = await readFile(path);
  const array = parseArray(bytes, path);
  if (array) {
    const highest = samples.reduce((most, { index }) => Math.max(most, index), -1);
    if (highest >= array.length) {
      throw new UserError(
        'LABELS_MISSING',
        `${path} has ${array.length} labels, sample ${highest + 1} needs one.`,
        {
          place: path,
          suggestions: ['An array of labels has one a sample, in the order of the data.'],
        },
      );
    }
    return samples.map(({ index }) => array[index]!);
  }
  const entries: LabelEntry[] = parseLabelFile(bytes.toString('utf8'), path);
  const find = nameIndex(entries.map(({ name, label }) => [name, label]));
  return complete(
    samples.map(({ name }) => find(name)),
    samples,
    path,
  );
}

async function folderClasses(path: string, samples: readonly SampleKey[]): Promise<number[]> {
  const entries = await readdir(path, { withFileTypes: true });
  const folders = entries
    .filter((entry) => !entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort((a, b) => (a < b ? -1 : 1));
  const numbered = folders.every((name) => /^\d+$/.test(name));
  const classes = new Map(folders.map((name, i) => [name, numbered ? Number(name) : i]));
  const found = samples.map(({ name }) =>
    name.includes('/') ? classes.get(name.split('/')[0]!) : undefined,
  );
  return complete(found, samples, path);
}

/** For each sample the file below `folder` that bears its name, with one of the endings. */
async function filesFor(
  folder: string,
  endings: readonly string[],
  samples: readonly SampleKey[],
): Promise<(string | undefined)[]> {
  const names = (await readdir(folder, { recursive: true })).map((name) => name.replaceAll('\\', '/')).sort();
  const suited = names.filter((name) => endings.includes(extname(name).toLowerCase()));
  const find = nameIndex(suited.map((name) => [name, join(folder, name)]));
  return samples.map(({ name }) => find(name));
}

/** The values, when every sample has one. */
function complete<T>(values: readonly (T | undefined)[], samples: readonly SampleKey[], place: string): T[] {
  const missing = samples.filter((_, i) => values[i] === undefined).map(({ name }) => name);
  if (missing.length === 0) return values as T[];
  const shown = missing.slice(0, 3).join(', ') + (missing.length > 3 ? ', …' : '');
  throw new UserError(
    'LABELS_MISSING',
    `${place} has no label for ${missing.length} of ${samples.length} samples: ${shown}.`,
    {
      place,
      suggestions: [
        'Names match by path below the data folder, by file name, or by file name without its ending.',
      ],
    },
  );
}
