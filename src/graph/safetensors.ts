import { closeSync, openSync, readSync, statSync, writeFileSync } from 'node:fs';
import { UserError } from '../errors.js';

/**
 * safetensors: an 8-byte little-endian header length, a JSON header, then raw little-endian row-major data.
 * https://github.com/huggingface/safetensors#format
 */

export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | BigInt64Array
  | BigUint64Array;

export interface Tensor<D extends TensorData = TensorData> {
  data: D;
  shape: number[];
}

/** Arrays by safetensors dtype; float16, bfloat16 and bool are handed out as their bits. */
const ARRAYS = {
  F32: Float32Array,
  F64: Float64Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array as unknown as typeof Int32Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
} as const;

type SafeDtype = keyof typeof ARRAYS;

const dtypeOf = (data: TensorData): SafeDtype => {
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof Float64Array) return 'F64';
  if (data instanceof Int8Array) return 'I8';
  if (data instanceof Uint8Array) return 'U8';
  if (data instanceof Int16Array) return 'I16';
  if (data instanceof Uint16Array) return 'U16';
  if (data instanceof Int32Array) return 'I32';
  if (data instanceof BigInt64Array) return 'I64';
  return 'U64';
};

interface Entry {
  dtype: SafeDtype;
  shape: number[];
  data_offsets: [number, number];
}

/** Largest header accepted: 100 MB, the limit of the reference implementation. */
const MAX_HEADER = 100_000_000;

/** Reads tensors of one file by name, each only when asked for. */
export class SafetensorsFile {
  private constructor(
    readonly path: string,
    private readonly entries: Map<string, Entry>,
    private readonly dataStart: number,
  ) {}

  /**
   * Reads the header.
   * @throws UserError TENSORS_BROKEN when the file is not a whole safetensors file.
   */
  static open(path: string): SafetensorsFile {
    const broken = (found: string): UserError =>
      new UserError('TENSORS_BROKEN', `${path} is not a whole safetensors file: ${found}`, {
        place: path,
        suggestions: ['Delete the run folder and start the command again.'],
      });
    const size = statSync(path).size;
    if (size < 8) throw broken(`${size} bytes`);
    const length = Number(readRange(path, 0, 8).readBigUInt64LE());
    if (length > MAX_HEADER || 8 + length > size)
      throw broken(`a header of ${length} bytes in ${size} bytes`);
    let header: Record<string, Entry>;
    try {
      header = JSON.parse(readRange(path, 8, length).toString('utf8')) as Record<string, Entry>;
    } catch (cause) {
      throw broken(`its header is no JSON (${(cause as Error).message})`);
    }
    const entries = new Map<string, Entry>();
    for (const [name, entry] of Object.entries(header)) {
      if (name === '__metadata__') continue;
      const [start, end] = entry.data_offsets ?? [0, -1];
      if (!(entry.dtype in ARRAYS) || start < 0 || end < start || 8 + length + end > size) {
        throw broken(`tensor ${name} lies outside the file or has an unknown type`);
      }
      entries.set(name, entry);
    }
    return new SafetensorsFile(path, entries, 8 + length);
  }

  get names(): string[] {
    return [...this.entries.keys()];
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  /** The tensor's elements, copied out of the file; undefined when there is none of that name. */
  get(name: string): Tensor | undefined {
    const entry = this.entries.get(name);
    if (!entry) return undefined;
    const [start, end] = entry.data_offsets;
    const bytes = readRange(this.path, this.dataStart + start, end - start);
    const array = ARRAYS[entry.dtype];
    const data = new array(bytes.buffer as ArrayBuffer, 0, bytes.byteLength / array.BYTES_PER_ELEMENT);
    return { data, shape: entry.shape };
  }

  /**
   * A float32 tensor.
   * @throws UserError TENSOR_MISSING when it is absent or of another type.
   */
  float32(name: string): Tensor<Float32Array> {
    const tensor = this.get(name);
    if (!(tensor?.data instanceof Float32Array)) {
      throw new UserError('TENSOR_MISSING', `${this.path} holds no float32 tensor called ${name}.`, {
        place: this.path,
      });
    }
    return { data: tensor.data, shape: tensor.shape };
  }
}

/** Bytes [offset, offset + length) of a file, in a buffer of their own that typed arrays can view. */
function readRange(path: string, offset: number, length: number): Buffer {
  const buffer = Buffer.from(new ArrayBuffer(length));
  const file = openSync(path, 'r');
  try {
    let done = 0;
    while (done < length) {
      const count = readSync(file, buffer, done, Math.min(length - done, 1 << 30), offset + done);
      if (count === 0) throw new Error(`${path} ends at byte ${offset + done}, expected ${offset + length}`);
      done += count;
    }
  } finally {
    closeSync(file);
  }
  return buffer;
}

/**
 * The file's bytes for some tensors. Ordered by element size, then name, as the reference writer does: everything is
 * naturally aligned without gaps, and equal content gives equal bytes.
 */
export function encodeSafetensors(tensors: ReadonlyMap<string, Tensor>): Buffer {
  const names = [...tensors.keys()].sort((a, b) => {
    const sizes = tensors.get(b)!.data.BYTES_PER_ELEMENT - tensors.get(a)!.data.BYTES_PER_ELEMENT;
    return sizes || (a < b ? -1 : 1);
  });
  const header: Record<string, Entry> = {};
  let offset = 0;
  for (const name of names) {
    const { data, shape } = tensors.get(name)!;
    header[name] = { dtype: dtypeOf(data), shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const text = JSON.stringify(header);
  const headerLength = Math.ceil(Buffer.byteLength(text) / 8) * 8;
  const file = Buffer.alloc(8 + headerLength + offset, 0x20);
  file.writeBigUInt64LE(BigInt(headerLength), 0);
  file.write(text, 8, 'utf8');
  for (const name of names) {
    const { data } = tensors.get(name)!;
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    bytes.copy(file, 8 + headerLength + header[name]!.data_offsets[0]);
  }
  return file;
}

/** Writes a safetensors file; the caller owns atomicity (stages are renamed as a whole). */
export function writeSafetensors(path: string, tensors: ReadonlyMap<string, Tensor>): void {
  writeFileSync(path, encodeSafetensors(tensors));
}

/** All tensors of a small file at once. */
export function readSafetensors(path: string): Map<string, Tensor> {
  const file = SafetensorsFile.open(path);
  return new Map(file.names.map((name) => [name, file.get(name)!]));
}
