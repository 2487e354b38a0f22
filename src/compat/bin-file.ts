import { UserError } from '../errors.js';

/** The original's calibration files: 510 is always N, C, H, W; 610 has any rank. */
export type BinFormat = 510 | 610;

export interface BinHeader {
  format: BinFormat;
  shape: number[];
  /** Bytes before the first float32. */
  offset: number;
}

const MAX_RANK = 16;
/** Longest header: magic, rank and MAX_RANK dimensions. */
export const MAX_HEADER_BYTES = 4 * (2 + MAX_RANK);
const MAX_INT32 = 2 ** 31 - 1;

/**
 * A header as bytes: int32 510, N, C, H, W or int32 610, rank, dims; little-endian.
 * @throws UserError BIN_SHAPE for a shape that the format cannot hold
 */
export function encodeBinHeader(format: BinFormat, shape: readonly number[]): Buffer {
  const refuse = (expected: string): never => {
    throw new UserError(
      'BIN_SHAPE',
      `A bin file of kind ${format} cannot hold the shape [${shape.join(', ')}].`,
      {
        expected,
        found: `${shape.length} dimensions`,
        suggestions: format === 510 ? ['Use --format 610 for arrays of any rank.'] : [],
      },
    );
  };
  if (format === 510 && shape.length !== 4) refuse('4 dimensions: samples, channels, height, width');
  if (shape.length < 1 || shape.length > MAX_RANK) refuse(`1 to ${MAX_RANK} dimensions`);
  if (shape.some((size) => !Number.isInteger(size) || size < 1 || size > MAX_INT32)) {
    refuse(`dimensions of 1 to ${MAX_INT32}`);
  }
  const values = format === 510 ? [format, ...shape] : [format, shape.length, ...shape];
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => void bytes.writeInt32LE(value, 4 * index));
  return bytes;
}

/**
 * Reads a header.
 * @param head the first MAX_HEADER_BYTES of the file, or all of it
 * @param size length of the whole file in bytes
 * @throws UserError BIN_BROKEN for a wrong magic number, rank, dimension or length
 */
export function decodeBinHeader(head: Buffer, size: number, path: string): BinHeader {
  const refuse = (found: string): never => {
    throw new UserError('BIN_BROKEN', `${path} is no whole calibration file: ${found}.`, {
      place: path,
      expected: 'int32 510, N, C, H, W or int32 610, rank, dims; then float32, little-endian',
      suggestions: ['Write it again, for example with: dopt compat bin write'],
    });
  };
  const int = (index: number): number =>
    head.length >= 4 * index + 4 ? head.readInt32LE(4 * index) : refuse('it ends inside the header');
  const format = int(0);
  if (format !== 510 && format !== 610) return refuse(`it starts with ${format}, not with 510 or 610`);
  const rank = format === 510 ? 4 : int(1);
  if (rank < 1 || rank > MAX_RANK) refuse(`its header gives rank ${rank}`);
  const first = format === 510 ? 1 : 2;
  const shape = Array.from({ length: rank }, (_, index) => int(first + index));
  if (shape.some((extent) => extent < 1)) refuse(`its header gives the shape [${shape.join(', ')}]`);
  const offset = 4 * (first + rank);
  const wanted = shape.reduce((product, extent) => product * BigInt(extent), 4n);
  if (wanted !== BigInt(size - offset)) {
    refuse(`[${shape.join(', ')}] takes ${wanted} bytes of float32, but ${size - offset} follow the header`);
  }
  return { format, shape, offset };
}

/** The shape of `count` arrays in one file: joined along the first dimension, or stacked where they have none for samples. */
export function joinedShape(shape: readonly number[], count: number, stack: boolean): number[] {
  return stack ? [count, ...shape] : [count * (shape[0] ?? 1), ...shape.slice(1)];
}
