import { readdirSync, statSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import type { NamedShape } from '../cli/parse.js';
import type { DataPart, Preprocess } from '../config/data.js';
import { UserError } from '../errors.js';
import type { InputBlock, NotrainConfig } from './config.js';
import type { Layout } from './request.js';

/** Endings of pictures that the original reads. */
const PICTURES = new Set('.bmp .dib .jpeg .jpg .jpe .png .webp .pbm .pgm .ppm .tiff .tif'.split(' '));

export interface InputParts {
  parts: DataPart[];
  /** Shapes as the model has them; see `modelShapes`. */
  shapes: NamedShape[];
  warnings: string[];
}

/**
 * The preprocess blocks as data sources, one for each input in the order of `--input_shape`. Relative paths start at
 * `folder`.
 *
 * @throws UserError COMPAT_INPUT_COUNT when the numbers differ, COMPAT_INPUT_PATH for a path of the wrong kind,
 *   COMPAT_CHANNELS when pictures or their means and deviations do not fit the input; each with the place in the config
 */
export function inputParts(
  config: NotrainConfig,
  given: readonly NamedShape[],
  layout: Layout,
  folder: string,
): InputParts {
  if (config.inputs.length !== given.length) throw countMismatch(config, given);
  const warnings: string[] = [];
  const shapes = given.map((shape, index) =>
    layout === 'nhwc' && config.inputs[index]!.kind === 'image' ? channelsLast(shape, warnings) : shape,
  );
  const parts = config.inputs.map((block, index): DataPart => {
    const shape = shapes[index]!;
    const path = resolve(folder, block.path);
    checkPath(block, path);
    const preprocess = block.kind === 'image' ? pictureSteps(block, shape, layout) : arraySteps(layout);
    if (block.kind === 'image') warnings.push(...ignoredEntries(path));
    return { input: shape.name, path, preprocess };
  });
  return { parts, shapes, warnings };
}

function countMismatch(config: NotrainConfig, shapes: readonly NamedShape[]): UserError {
  const { inputs, file } = config;
  const place = inputs[Math.min(shapes.length, inputs.length - 1)]!.places.block;
  return new UserError(
    'COMPAT_INPUT_COUNT',
    `--input_shape names ${shapes.length} inputs (${shapes.map(({ name }) => name).join(', ')}), but ${file} has ` +
      `${inputs.length} preprocess_parameter blocks.`,
    {
      place,
      expected: `${shapes.length} blocks`,
      found: `${inputs.length}`,
      suggestions: ['Give one preprocess_parameter for each input, in the order of --input_shape.'],
    },
  );
}

/** The page writes shapes as n,c,h,w also for NHWC models: such a shape becomes n,h,w,c, and is warned about. */
function channelsLast(shape: NamedShape, warnings: string[]): NamedShape {
  const [n, c, h, w] = shape.dims;
  const isChannels = (dim: number | undefined): boolean => dim === 1 || dim === 3;
  if (shape.dims.length !== 4 || isChannels(w) || !isChannels(c)) return shape;
  const dims = [n!, h!, w!, c!];
  warnings.push(
    `--input_shape ${shape.name}:${shape.dims.join(',')} is read as n,c,h,w; with --input_format NHWC that is ${dims.join(',')}.`,
  );
  return { ...shape, dims };
}

function checkPath({ kind, places }: InputBlock, path: string): void {
  const refuse = (message: string, suggestions: string[]): never => {
    throw new UserError('COMPAT_INPUT_PATH', `${places.path} input_file_path ${path} ${message}.`, {
      place: places.path,
      suggestions,
    });
  };
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) refuse('does not exist', ['Give an absolute path; relative ones start at the current folder.']);
  if (kind === 'image' && !found!.isDirectory()) {
    const bin = extname(path).toLowerCase() === '.bin';
    refuse('is a file, but input_type IMAGE takes a folder of pictures', [
      bin ? 'For a bin file: input_type: BINARY' : 'Name the folder that the picture lies in.',
    ]);
  }
  if (kind === 'binary' && found!.isDirectory()) {
    refuse('is a folder, but input_type BINARY takes one bin file', [
      'Name the file itself; for a folder of pictures: input_type: IMAGE',
    ]);
  }
}

/** Steps for bins: only the layout counts, for files of kind 510. */
const arraySteps = (layout: Layout): Preprocess => ({
  color: 'rgb',
  interpolation: 'bilinear',
  mean: 0,
  std: 1,
  layout,
});

function pictureSteps(block: InputBlock, { name, dims }: NamedShape, layout: Layout): Preprocess {
  const refuse = (place: string, message: string, suggestions: string[]): never => {
    throw new UserError('COMPAT_CHANNELS', `${place} ${message}.`, { place, suggestions });
  };
  const channels = dims.at(layout === 'nhwc' ? -1 : -3);
  if ((dims.length !== 3 && dims.length !== 4) || (channels !== 1 && channels !== 3)) {
    const other = dims.at(layout === 'nhwc' ? -3 : -1);
    const turned = dims.length === 4 && (other === 1 || other === 3);
    refuse(
      block.places.block,
      `feeds pictures to the input ${name} of shape ${dims.join(',')}, which is none of a picture in ${layout.toUpperCase()}`,
      turned
        ? [`Give --input_format ${layout === 'nhwc' ? 'NCHW' : 'NHWC'}.`]
        : ['Give such an input as a bin file: input_type: BINARY'],
    );
  }
  for (const [key, values] of [
    ['mean_value', block.mean],
    ['standard_deviation', block.std],
  ] as const) {
    if (values.length === 1 || values.length === channels) continue;
    refuse(
      key === 'mean_value' ? block.places.mean : block.places.std,
      `has ${values.length} values of ${key}, but the input ${name} has ${channels} channels`,
      [`Give 1 value or ${channels}.`],
    );
  }
  const [height, width] = layout === 'nhwc' ? dims.slice(-3) : dims.slice(-2);
  const single = (values: readonly number[]): number | number[] =>
    values.length === 1 ? values[0]! : [...values];
  return {
    color: block.color,
    resize: [height!, width!],
    interpolation: 'bilinear',
    mean: single(block.mean),
    std: single(block.std),
    layout,
  };
}

/** What a picture folder holds besides pictures; the original stops at such entries. */
function ignoredEntries(folder: string): string[] {
  const ignored = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const isFolder = entry.isDirectory();
    const isPicture = PICTURES.has(extname(entry.name).toLowerCase());
    if (!entry.name.startsWith('.') && !isFolder && isPicture) return [];
    return [isFolder ? `${entry.name}/` : entry.name];
  });
  if (ignored.length === 0) return [];
  const named = ignored.sort().slice(0, 3).join(', ');
  const more = ignored.length > 3 ? ` and ${ignored.length - 3} more` : '';
  return [
    `${folder}: only pictures directly in the folder are read; ${named}${more} ${ignored.length === 1 ? 'is' : 'are'} ignored.`,
  ];
}
