import { existsSync, statSync } from 'node:fs';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ensureEnvironment } from '../bridge/environments.js';
import { runJob } from '../bridge/jobs.js';
import type { EnvironmentKind } from '../bridge/profiles.js';
import type { Preprocess } from '../config/data.js';
import { EXIT, UserError } from '../errors.js';
import { diskError, makeFolder, placeAtomic } from '../run/atomic.js';
import { readNpy } from '../verify/npy.js';
import {
  type BinFormat,
  decodeBinHeader,
  encodeBinHeader,
  joinedShape,
  MAX_HEADER_BYTES,
} from './bin-file.js';

export interface BinContent {
  path: string;
  format: BinFormat;
  shape: number[];
  bytes: number;
  /** Over the finite values; null when there are none. */
  min: number | null;
  max: number | null;
  mean: number | null;
  /** NaN and infinities. */
  notFinite: number;
}

export interface WriteBinOptions {
  format: BinFormat;
  out: string;
  /** `.npy` files, or one folder of pictures. */
  inputs: string[];
  preprocess: Preprocess;
  overwrite: boolean;
  environment: EnvironmentKind;
  threads: number;
  signal: AbortSignal;
}

/** Bytes read at once. */
const PIECE = 1 << 20;

/**
 * What a bin file holds; reads it in pieces.
 * @throws UserError BIN_BROKEN, BIN_UNREADABLE
 */
export async function readBin(path: string): Promise<BinContent> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    if (statSync(path).isDirectory()) throw new Error('it is a folder');
    file = await open(path, 'r');
  } catch (cause) {
    throw unreadable(path, cause);
  }
  try {
    const { size } = await file.stat();
    const head = Buffer.alloc(Math.min(size, MAX_HEADER_BYTES));
    await file.read(head, 0, head.length, 0);
    const { format, shape, offset } = decodeBinHeader(head, size, path);
    const piece = Buffer.alloc(PIECE);
    let [min, max, sum, finite, count] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0, 0];
    for (let at = offset; at < size; ) {
      const { bytesRead } = await file.read(piece, 0, Math.min(PIECE, size - at), at);
      if (bytesRead < 4) throw unreadable(path, new Error('it became shorter while it was read'));
      const whole = bytesRead - (bytesRead % 4);
      for (let index = 0; index < whole; index += 4) {
        const value = piece.readFloatLE(index);
        count += 1;
        if (!Number.isFinite(value)) continue;
        finite += 1;
        sum += value;
        if (value < min) min = value;
        if (value > max) max = value;
      }
      at += whole;
    }
    const known = finite > 0;
    return {
      path,
      format,
      shape,
      bytes: size,
      min: known ? min : null,
      max: known ? max : null,
      mean: known ? sum / finite : null,
      notFinite: count - finite,
    };
  } finally {
    await file.close();
  }
}

/** The content in a few lines. */
export function describeBin({ path, format, shape, bytes, min, max, mean, notFinite }: BinContent): string {
  const number = (value: number | null): string =>
    value === null ? '-' : String(Number(value.toPrecision(6)));
  return [
    path,
    `kind       ${format}`,
    `shape      ${shape.join(' x ')}${format === 510 ? ' (samples, channels, height, width)' : ''}`,
    `bytes      ${bytes}`,
    `values     ${number(min)} to ${number(max)}, mean ${number(mean)}`,
    ...(notFinite > 0 ? [`not finite ${notFinite}`] : []),
  ].join('\n');
}

/**
 * Writes `.npy` files or a folder of pictures as one bin file; several samples become its first dimension.
 *
 * Arrays of one shape are joined along their first dimension; for kind 510, arrays of [C, H, W] are stacked. Pictures are
 * read as for calibration.
 *
 * @throws UserError BIN_OUT_EXISTS, BIN_INPUT, BIN_SHAPE, and what reading pictures rejects with
 */
export async function writeBin(options: WriteBinOptions): Promise<BinContent> {
  const { out, inputs, format } = options;
  if (existsSync(out) && !options.overwrite) {
    throw new UserError('BIN_OUT_EXISTS', `${out} exists; it is not overwritten silently.`, {
      place: out,
      suggestions: ['Give another file after --out, or add --overwrite.'],
    });
  }
  if (inputs.includes(out)) {
    throw new UserError('BIN_INPUT', `--out names an input: ${out}`, { place: out, exitCode: EXIT.usage });
  }
  const folders = inputs.filter((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory());
  if (folders.length > 0 && inputs.length > 1) {
    throw new UserError('BIN_INPUT', `${folders[0]} is a folder among several inputs.`, {
      place: folders[0]!,
      exitCode: EXIT.usage,
      suggestions: ['Give one folder of pictures, or .npy files.'],
    });
  }
  const temporary = await mkdtemp(join(tmpdir(), 'dopt-bin-'));
  try {
    const arrays =
      folders.length > 0 ? await pictureArrays(options, temporary) : await Promise.all(inputs.map(npyArray));
    await writeJoined(out, format, arrays);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return readBin(out);
}

/** One array, read when its turn comes. */
interface ArrayFile {
  name: string;
  shape: number[];
  read: () => Promise<Float32Array>;
}

async function npyArray(path: string): Promise<ArrayFile> {
  const load = async (): Promise<ReturnType<typeof readNpy>> => {
    try {
      return readNpy(await readFile(path));
    } catch (cause) {
      throw unreadable(path, cause);
    }
  };
  const read = async (): Promise<Float32Array> => {
    const { data } = await load();
    const values = Float32Array.from(data);
    const lost = values.findIndex((value, index) => !Number.isFinite(value) && Number.isFinite(data[index]));
    if (lost < 0) return values;
    throw new UserError('BIN_INPUT', `${path} holds ${data[lost]}, which float32 has no number for.`, {
      place: path,
      suggestions: ['Scale the data before it is written.'],
    });
  };
  return { name: path, shape: (await load()).shape, read };
}

async function pictureArrays(options: WriteBinOptions, out: string): Promise<ArrayFile[]> {
  const { preprocess, format, environment, threads, signal } = options;
  const path = options.inputs[0]!;
  if (format === 510 && preprocess.layout === 'nhwc') {
    throw new UserError('BIN_INPUT', 'A bin file of kind 510 is always N, C, H, W.', {
      exitCode: EXIT.usage,
      suggestions: ['Leave --layout out: a model in NHWC gets it transposed. Or use --format 610.'],
    });
  }
  const input = { name: 'input', dtype: 'float32' as const, shape: [1, null, null, null] };
  const parts = [{ input: input.name, path, preprocess }];
  const source = { path, preprocess, inputs: [input], indices: null, skipBad: false, parts };
  const { samples } = await runJob(
    await ensureEnvironment('onnx', environment),
    'materialize',
    { source, out },
    { threads, signal },
  );
  return samples.map(({ name, tensors }) => {
    const { path: raw, shape } = tensors[input.name]!;
    const read = async (): Promise<Float32Array> => {
      const bytes = await readFile(raw);
      return Float32Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(4 * index));
    };
    return { name: join(path, name), shape, read };
  });
}

async function writeJoined(out: string, format: BinFormat, arrays: readonly ArrayFile[]): Promise<void> {
  const [first] = arrays as [ArrayFile, ...ArrayFile[]];
  const other = arrays.find(({ shape }) => shape.join() !== first.shape.join());
  if (other) {
    throw new UserError('BIN_INPUT', `${other.name} has another shape than ${first.name}.`, {
      place: other.name,
      expected: `[${first.shape.join(', ')}]`,
      found: `[${other.shape.join(', ')}]`,
      suggestions: ['Bring all samples to one shape; pictures with --resize HEIGHTxWIDTH.'],
    });
  }
  const stack = format === 510 && first.shape.length === 3;
  const header = encodeBinHeader(format, joinedShape(first.shape, arrays.length, stack));
  try {
    makeFolder(dirname(out));
  } catch (error) {
    throw diskError(error, out);
  }
  await placeAtomic(out, async (temporary) => {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(header);
      for (const array of arrays) await file.writeFile(littleEndian(await array.read()));
      await file.sync();
    } finally {
      await file.close();
    }
  });
}

function littleEndian(values: Float32Array): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => void bytes.writeFloatLE(value, 4 * index));
  return bytes;
}

function unreadable(path: string, cause: unknown): UserError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const reason = code === 'ENOENT' ? 'it does not exist' : code === 'EISDIR' ? 'it is a folder' : message;
  return new UserError('BIN_UNREADABLE', `${path} cannot be read: ${reason}.`, {
    place: path,
    cause,
    suggestions: ['Give the path of a file that can be read.'],
  });
}
