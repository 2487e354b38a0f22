import { deflateSync } from 'node:zlib';

interface Options {
  depth?: number;
  color?: number;
  interlace?: number;
  palette?: number[];
}

/** A PNG with rows given as filter type and bytes. */
export function png(
  width: number,
  rows: number[][],
  { depth = 8, color = 0, interlace = 0, palette }: Options = {},
): Buffer {
  const chunk = (type: string, body: Buffer): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length);
    return Buffer.concat([length, Buffer.from(type), body, Buffer.alloc(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(rows.length, 4);
  header.set([depth, color, 0, 0, interlace], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const data = deflateSync(Buffer.from(rows.flat()));
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    ...(palette ? [chunk('PLTE', Buffer.from(palette))] : []),
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** A `.npy` file of version 1. */
export const npy = (descr: string, shape: string, body: ArrayBufferView, order = 'False'): Buffer => {
  const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${shape}), }`;
  const header = Buffer.from(`${text.padEnd(117, ' ')}\n`);
  const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length, 0]);
  return Buffer.concat([start, header, Buffer.from(body.buffer, body.byteOffset, body.byteLength)]);
};
