import { inflateSync } from 'node:zlib';

/** Samples of a PNG of one channel, unscaled: gray levels, or palette indices. */
export interface GrayPicture {
  height: number;
  width: number;
  samples: Uint8Array;
}

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const GRAY = 0;
const PALETTE = 3;

/** Larger label maps than this are taken for damaged headers. */
const MOST_PIXELS = 2 ** 28;

/**
 * Decodes a PNG whose pixels are numbers rather than colours: gray or palette, 1 to 8 bits, not interlaced
 * (W3C PNG specification, sections 7 to 9). Samples are the stored numbers; the palette is not applied.
 * @throws Error that says what is wrong, without the file's name
 */
export function decodePng(bytes: Buffer): GrayPicture {
  if (bytes.length < 33 || !bytes.subarray(0, 8).equals(SIGNATURE)) throw new Error('it is not a PNG file');
  let header: Buffer | undefined;
  const data: Buffer[] = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (body.length < length) throw new Error('it is cut short');
    if (type === 'IHDR') header = body;
    if (type === 'IDAT') data.push(body);
    if (type === 'IEND') break;
    at += 12 + length;
  }
  if (!header || header.length < 13 || data.length === 0) throw new Error('it has no picture data');
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const [depth, color, , , interlace] = header.subarray(8) as unknown as [
    number,
    number,
    number,
    number,
    number,
  ];
  if (color !== GRAY && color !== PALETTE) {
    throw new Error('it has colour channels; a label map has one channel (gray or palette)');
  }
  if (![1, 2, 4, 8].includes(depth)) throw new Error(`it has ${depth} bits a pixel, at most 8 are read`);
  if (interlace !== 0) throw new Error('it is interlaced; save it without interlacing');
  if (width === 0 || height === 0 || width * height > MOST_PIXELS) {
    throw new Error(`its header says ${width} x ${height} pixels`);
  }
  const stride = Math.ceil((width * depth) / 8);
  const size = height * (stride + 1);
  const raw = inflateSync(Buffer.concat(data), { maxOutputLength: size });
  if (raw.length !== size) throw new Error('it is cut short');
  unfilter(raw, height, stride);
  return { height, width, samples: unpack(raw, height, width, stride, depth) };
}

/** Undoes the filters in place. Every row starts with its filter type; at most 8 bits a pixel, so "left" is a byte back. */
function unfilter(raw: Buffer, height: number, stride: number): void {
  for (let y = 0; y < height; y++) {
    const row = y * (stride + 1) + 1;
    const type = raw[row - 1]!;
    if (type > 4) throw new Error(`row ${y} has the unknown filter ${type}`);
    for (let x = 0; x < stride; x++) {
      const left = x > 0 ? raw[row + x - 1]! : 0;
      const up = y > 0 ? raw[row + x - stride - 1]! : 0;
      const corner = x > 0 && y > 0 ? raw[row + x - stride - 2]! : 0;
      const predicted = [0, left, up, (left + up) >> 1, type === 4 ? paeth(left, up, corner) : 0][type]!;
      raw[row + x] = raw[row + x]! + predicted;
    }
  }
}

function paeth(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const a = Math.abs(estimate - left);
  const b = Math.abs(estimate - up);
  const c = Math.abs(estimate - corner);
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

function unpack(raw: Buffer, height: number, width: number, stride: number, depth: number): Uint8Array {
  const samples = new Uint8Array(width * height);
  const mask = (1 << depth) - 1;
  for (let y = 0; y < height; y++) {
    const row = y * (stride + 1) + 1;
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      const byte = raw[row + (bit >> 3)]!;
      samples[y * width + x] = (byte >> (8 - depth - (bit & 7))) & mask;
    }
  }
  return samples;
}
