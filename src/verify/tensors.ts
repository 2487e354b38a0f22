import { readFileSync } from 'node:fs';
import type { Tensor } from 'onnxruntime-node';
import { UserError } from '../errors.js';

/** One sample as `materialize` wrote it. */
export interface MaterializedSample {
  name: string;
  /** Height and width of the picture before preprocessing; null for arrays. */
  originalSize: [number, number] | null;
  /** By input name: a raw little-endian file. */
  tensors: Record<string, { path: string; dtype: string; shape: number[] }>;
}

/** A tensor's elements as numbers. */
export interface Values {
  data: ArrayLike<number>;
  shape: readonly number[];
  /** The elements are of an integer type. */
  integer: boolean;
}

/** Element types that a sample file may hold, with onnxruntime's view of them. */
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;

export interface RawTensor {
  dtype: keyof typeof ARRAYS;
  data: InstanceType<(typeof ARRAYS)[keyof typeof ARRAYS]>;
  shape: number[];
}

/**
 * Reads one input of a sample.
 * @throws UserError SAMPLE_FILE when the file is missing, too short or too long, or of an unknown type
 */
export function readRawTensor(file: MaterializedSample['tensors'][string]): RawTensor {
  const { path, shape } = file;
  const dtype = file.dtype as keyof typeof ARRAYS;
  const Elements = ARRAYS[dtype];
  if (!Elements) throw sampleError(path, `its element type ${file.dtype} is none that onnxruntime takes`);
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw sampleError(path, (error as Error).message);
  }
  const count = shape.reduce((product, size) => product * size, 1);
  const expected = count * Elements.BYTES_PER_ELEMENT;
  if (bytes.length !== expected) {
    throw sampleError(
      path,
      `it holds ${bytes.length} bytes, ${dtype} [${shape.join(', ')}] needs ${expected}`,
    );
  }
  // A copy where the buffer is a slice of Node's pool, whose offset may not suit the element size.
  const aligned = bytes.byteOffset % Elements.BYTES_PER_ELEMENT === 0 ? bytes : Buffer.from(bytes);
  return { dtype, data: new Elements(aligned.buffer as ArrayBuffer, aligned.byteOffset, count), shape };
}

function sampleError(path: string, reason: string): UserError {
  return new UserError('SAMPLE_FILE', `Cannot take the sample file ${path}: ${reason}.`, {
    place: path,
    suggestions: ['Run the command again without --resume, so that samples are prepared anew.'],
  });
}

/** An output of onnxruntime as numbers, or null for strings. int64 beyond 2⁵³ loses its last digits. */
export function tensorValues(tensor: Tensor): Values | null {
  const shape = tensor.dims;
  const { data, type } = tensor;
  if (type === 'string') return null;
  const integer = !type.startsWith('float');
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    return { data: Float64Array.from(data as BigInt64Array, Number), shape, integer };
  }
  if (type === 'float16' && data instanceof Uint16Array) {
    return { data: Float32Array.from(data, halfToNumber), shape, integer };
  }
  return { data: data as Float32Array, shape, integer };
}

/** The value of an IEEE 754 half given as its bits. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
