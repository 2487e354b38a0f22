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

/**
 * Reads a `.npy` file (NEP 1, versions 1 to 3) in row-major order.
 * @throws Error that says what is wrong, without the file's name
 */
export function readNpy(bytes: Buffer): NpyArray {
  if (bytes.length < 12 || !bytes.subarray(0, 6).equals(MAGIC)) throw new Error('it is not a .npy file');
  const wide = bytes[6]! >= 2;
  const start = wide ? 12 : 10;
  const end = start + (wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8));
  const header = bytes.toString('latin1', start, end);
  const type = /'descr':\s*'([<>|=]?)([a-z]\d+)'/.exec(header);
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const dims = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (!type || !order || dims === undefined || end > bytes.length) throw new Error('its header is damaged');
  const [, endian, name] = type as unknown as [string, string, string];
  const read = READERS[name];
  if (!read || endian === '>') throw new Error(`its element type ${endian}${name} is not supported`);
  if (order === 'True') throw new Error('it is in Fortran order; save numpy.ascontiguousarray of it');
  const shape = dims
    .split(',')
    .map((size) => size.trim())
    .filter(Boolean)
    .map(Number);
  const count = shape.reduce((product, size) => product * size, 1);
  const size = Number(name.slice(1));
  if (bytes.length - end !== count * size) {
    throw new Error(`it holds ${bytes.length - end} bytes, [${shape.join(', ')}] needs ${count * size}`);
  }
  return { shape, data: Float64Array.from({ length: count }, (_, i) => read(bytes, end + i * size)) };
}
