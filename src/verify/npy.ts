import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** An array of a `.npy` file as numbers. */
export interface NpyArray {
  shape: number[];
  data: ArrayLike<number>;
}

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

type Reader = (buffer: Buffer, offset: number) => number;

/** Element types by kind and size; all little-endian, or of one byte. */
const READERS: Record<string, Reader> = {
  i1: (b, o) => b.readInt8(o),
  u1: (b, o) => b.readUInt8(o),
  b1: (b, o) => b.readUInt8(o),
  i2: (b, o) => b.readInt16LE(o),
  u2: (b, o) => b.readUInt16LE(o),
  i4: (b, o) => b.readInt32LE(o),
  u4: (b, o) => b.readUInt32LE(o),
  i8: (b, o) => Number(b.readBigInt64LE(o)),
  u8: (b, o) => Number(b.readBigUInt64LE(o)),
  f4: (b, o) => b.readFloatLE(o),
  f8: (b, o) => b.readDoubleLE(o),
};

/** What the header of a `.npy` file says. */
interface NpyLayout {
  shape: number[];
  /** Bytes before the first element, and of an element. */
  start: number;
  size: number;
  read: Reader;
}

/** Bytes of `bytes` that hold the header, which they begin with. */
function headerEnd(bytes: Buffer): number {
  if (bytes.length < 12 || !bytes.subarray(0, 6).equals(MAGIC)) throw new Error('it is not a .npy file');
  return bytes[6]! >= 2 ? 12 + bytes.readUInt32LE(8) : 10 + bytes.readUInt16LE(8);
}

function layoutOf(bytes: Buffer): NpyLayout {
  const start = headerEnd(bytes);
  const header = bytes.toString('latin1', 10, start);
  const type = /'descr':\s*'([<>|=]?)([a-z]\d+)'/.exec(header);
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const dims = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (!type || !order || dims === undefined || start > bytes.length) throw new Error('its header is damaged');
  const [, endian, name] = type as unknown as [string, string, string];
  const read = READERS[name];
  if (!read || endian === '>') throw new Error(`its element type ${endian}${name} is not supported`);
  const shape = dims
    .split(',')
    .map((size) => size.trim())
    .filter(Boolean)
    .map(Number);
  if (order === 'True' && shape.length > 1) {
    throw new Error('it is in Fortran order; save numpy.ascontiguousarray of it');
  }
  return { shape, start, size: Number(name.slice(1)), read };
}

const product = (shape: readonly number[]): number => shape.reduce((all, size) => all * size, 1);

function requireLength(found: number, { shape, size }: NpyLayout): void {
  const needed = product(shape) * size;
  if (found !== needed) {
    throw new Error(`it holds ${found} bytes, [${shape.join(', ')}] needs ${needed}`);
  }
}

const elements = (bytes: Buffer, at: number, count: number, { read, size }: NpyLayout): Float64Array =>
  Float64Array.from({ length: count }, (_, i) => read(bytes, at + i * size));

/**
 * Reads a `.npy` file (NEP 1, versions 1 to 3) in row-major order.
 * @throws Error that says what is wrong, without the file's name
 */
export function readNpy(bytes: Buffer): NpyArray {
  const layout = layoutOf(bytes);
  requireLength(bytes.length - layout.start, layout);
  return { shape: layout.shape, data: elements(bytes, layout.start, product(layout.shape), layout) };
}

/**
 * Reads one row (an index of the first axis) of a `.npy` file without reading the others.
 * @throws Error that says what is wrong, without the file's name
 */
export function readNpyRow(path: string, row: number): NpyArray {
  const file = openSync(path, 'r');
  try {
    const bytesAt = (at: number, length: number): Buffer => {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(file, bytes, 0, length, at));
    };
    const layout = layoutOf(bytesAt(0, headerEnd(bytesAt(0, 12))));
    requireLength(fstatSync(file).size - layout.start, layout);
    const [rows = 0, ...shape] = layout.shape;
    if (row >= rows) throw new Error(`it has ${rows} rows, row ${row} is asked for`);
    const count = product(shape);
    const length = count * layout.size;
    return { shape, data: elements(bytesAt(layout.start + row * length, length), 0, count, layout) };
  } finally {
    closeSync(file);
  }
}
