import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import type { Params } from '../bridge/protocol.js';
import type { ClassificationMetric, DetectionMetric, Metric } from '../config/metric.js';
import { UserError } from '../errors.js';
import type { LabelBox } from './boxes.js';
import { parseCoco, parseWiderFace, parseYolo } from './label-boxes.js';
import { anyValue, classNumber, parseArray, parseLabelFile } from './label-files.js';
import { nameIndex } from './names.js';

/** A sample that needs a label. */
export interface SampleKey {
  /** As `listSamples` names it: path relative to the data folder, or `file#row`. */
  name: string;
  /** Position in the listing of its data source: its row in an array of labels. */
  index: number;
}

/** Where the labels of a sequence are: a `.npy` file of ids, or a row of one. */
export interface TokenFile {
  path: string;
  row: number | null;
}

export type UserLabels = NonNullable<Params<'userMetric'>['labels']>;

/** Labels of the scored samples, in their order. */
export type Labels =
  | { kind: 'classification'; classes: number[] }
  /** One file with a class map a sample. */
  | { kind: 'segmentation'; files: string[] }
  | { kind: 'detection'; boxes: LabelBox[][] }
  /** One reference picture a sample. */
  | { kind: 'image'; files: string[] }
  | { kind: 'tokens'; files: TokenFile[] }
  | { kind: 'user'; labels: UserLabels };

/**
 * Reads the labels of samples.
 *
 * Classification: a text file with `name label` on each line, a `.csv` with `name,label`, a `.json` object `{name: label}`
 * or array, a `.npy` array aligned with the listing, or the folder whose sub-folders are the classes (by `metric.names`;
 * else their names as class numbers when all are numbers, else their place in code-point order). Segmentation: a folder of
 * PNG or `.npy` class maps. Detection: a folder of YOLO `.txt` files, where a picture without one has no objects; a COCO
 * `.json`; a WIDER FACE `.txt`. Images: a folder of PNG or `.npy` pictures. Tokens: a folder of `.npy` files with ids, or
 * one `.npy` aligned with the listing. User: anything of these, values or paths as they are. Names match by relative path,
 * with or without extension, else by base name, with or without it.
 *
 * @throws UserError LABELS_NOT_FOUND, LABELS_FORMAT (with file:line), LABELS_MISSING (with the samples)
 */
export async function readLabels(
  path: string,
  metric: Metric,
  samples: readonly SampleKey[],
): Promise<Labels> {
  const folder = await isFolder(path);
  switch (metric.kind) {
    case 'classification': {
      const classes = folder
        ? await folderClasses(path, metric, samples)
        : await fileClasses(path, metric, samples);
      return { kind: metric.kind, classes };
    }
    case 'segmentation':
      requireFolder(folder, path, metric.kind, 'class maps, one a picture');
      return { kind: metric.kind, files: await oneFileEach(path, ['.png', '.npy'], samples) };
    case 'detection':
      return {
        kind: metric.kind,
        boxes: await (folder ? folderBoxes(path, metric, samples) : fileBoxes(path, metric, samples)),
      };
    case 'image':
      requireFolder(folder, path, metric.kind, 'reference pictures, one a sample');
      return { kind: metric.kind, files: await oneFileEach(path, ['.png', '.npy'], samples) };
    case 'tokens':
      return { kind: metric.kind, files: await tokenFiles(path, folder, samples) };
    case 'user':
      return { kind: metric.kind, labels: await userLabels(path, folder, samples) };
  }
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

function requireFolder(folder: boolean, path: string, kind: string, files: string): void {
  if (folder) return;
  throw new UserError('LABELS_FORMAT', `${path} is a file; ${kind} labels are a folder of ${files}.`, {
    place: path,
    suggestions: ['Name the folder: --labels FOLDER'],
  });
}

async function fileClasses(
  path: string,
  { names }: ClassificationMetric,
  samples: readonly SampleKey[],
): Promise<number[]> {
  const bytes = await readFile(path);
  const array = parseArray(bytes, path);
  if (array) {
    const classes = array.map((value, i) => classNumber(value, `${path}: element ${i}`, names));
    return rowsOf(classes.length, path, samples).map((row) => classes[row]!);
  }
  const entries = parseLabelFile(bytes.toString('utf8'), path);
  const find = nameIndex(entries.map(({ name, value, place }) => [name, classNumber(value, place, names)]));
  return complete(
    samples.map(({ name }) => find(name)),
    samples,
    path,
  );
}

/** The rows of an array of labels that the samples have, which must be there. */
function rowsOf(length: number, path: string, samples: readonly SampleKey[]): number[] {
  const highest = samples.reduce((most, { index }) => Math.max(most, index), -1);
  if (highest < length) return samples.map(({ index }) => index);
  throw new UserError('LABELS_MISSING', `${path} has ${length} labels, sample ${highest + 1} needs one.`, {
    place: path,
    suggestions: ['An array of labels has one a sample, in the order of the data.'],
  });
}

async function folderClasses(
  path: string,
  { names }: ClassificationMetric,
  samples: readonly SampleKey[],
): Promise<number[]> {
  const entries = await readdir(path, { withFileTypes: true });
  const folders = entries
    .filter((entry) => !entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort((a, b) => (a < b ? -1 : 1));
  const numbered = folders.every((name) => /^\d+$/.test(name));
  const numberOf = (name: string, i: number): number =>
    names ? names.indexOf(name) : numbered ? Number(name) : i;
  const classes = new Map(folders.map((name, i) => [name, numberOf(name, i)]));
  const found = samples.map(({ name }) => {
    const number = name.includes('/') ? classes.get(name.split('/')[0]!) : undefined;
    return number === -1 ? undefined : number;
  });
  return complete(found, samples, path);
}

async function folderBoxes(
  path: string,
  { classes }: DetectionMetric,
  samples: readonly SampleKey[],
): Promise<LabelBox[][]> {
  const files = await filesFor(path, ['.txt'], samples);
  if (files.every((file) => file === undefined)) complete(files, samples, path);
  return Promise.all(
    files.map(async (file) => (file ? parseYolo(await readFile(file, 'utf8'), file, classes) : [])),
  );
}

async function fileBoxes(
  path: string,
  { classes }: DetectionMetric,
  samples: readonly SampleKey[],
): Promise<LabelBox[][]> {
  const text = await readFile(path, 'utf8');
  const pictures =
    extname(path).toLowerCase() === '.json' ? parseCoco(text, path) : parseWiderFace(text, path);
  const find = nameIndex(pictures);
  const boxes = complete(
    samples.map(({ name }) => find(name)),
    samples,
    path,
  );
  const wrong = boxes.flat().find((box) => classes !== undefined && box.class >= classes);
  if (!wrong) return boxes;
  throw new UserError('LABEL_RANGE', `${path} has more than the metric's ${classes} classes.`, {
    place: path,
    suggestions: ['Check metric.classes in the recipe.'],
  });
}

async function tokenFiles(
  path: string,
  folder: boolean,
  samples: readonly SampleKey[],
): Promise<TokenFile[]> {
  if (!folder) return samples.map(({ index }) => ({ path, row: index }));
  return (await oneFileEach(path, ['.npy'], samples)).map((file) => ({ path: file, row: null }));
}

/** Values of a file as they are; a `.npy` is left to numpy, and a folder gives the path of the file of that name. */
async function userLabels(path: string, folder: boolean, samples: readonly SampleKey[]): Promise<UserLabels> {
  if (folder) return { files: await oneFileEach(path, null, samples) };
  if (extname(path).toLowerCase() === '.npy') {
    return { array: path, rows: samples.map(({ index }) => index) };
  }
  const bytes = await readFile(path);
  const array = parseArray(bytes, path);
  if (array) return { values: rowsOf(array.length, path, samples).map((row) => array[row]) };
  const entries = parseLabelFile(bytes.toString('utf8'), path);
  const find = nameIndex(entries.map(({ name, value }) => [name, anyValue(value)]));
  const values = samples.map(({ name }) => find(name));
  return { values: complete(values, samples, path) };
}

const oneFileEach = async (
  folder: string,
  endings: readonly string[] | null,
  samples: readonly SampleKey[],
): Promise<string[]> => complete(await filesFor(folder, endings, samples), samples, folder);

/** For each sample the file below `folder` that bears its name, with one of the endings. */
async function filesFor(
  folder: string,
  endings: readonly string[] | null,
  samples: readonly SampleKey[],
): Promise<(string | undefined)[]> {
  const listed = (await readdir(folder, { recursive: true }))
    .map((name) => name.replaceAll('\\', '/'))
    .sort();
  const folders = new Set(listed.map((name) => dirname(name)));
  const names = listed.filter((name) => !folders.has(name));
  const suited = names.filter((name) => endings?.includes(extname(name).toLowerCase()) ?? true);
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
