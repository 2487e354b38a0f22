import { inflateSync } from 'node:zlib';

/** Samples of a PNG, unscaled: gray levels, palette indices, or the channels of each pixel one after the other. */
export interface PngPicture {
  height: number;
  width: number;
  channels: number;
  /** Bits a sample, 1 to 16. */
  depth: number;
  samples: Uint8Array | Uint16Array;
  /** Colours of the indices, three bytes each; null where samples are no indices. */
  palette: Uint8Array | null;
}

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const PALETTE = 3;

/** Channels and allowed depths by colour type: gray, colours, palette, gray with alpha, colours with alpha. */
const COLOR_TYPES: Readonly<Record<number, { channels: number; depths: readonly number[] }>> = {
  0: { channels: 1, depths: [1, 2, 4, 8, 16] },
  2: { channels: 3, depths: [8, 16] },
  [PALETTE]: { channels: 1, depths: [1, 2, 4, 8] },
  4: { channels: 2, depths: [8, 16] },
  6: { channels: 4, depths: [8, 16] },
};

/** Larger pictures than this are taken for damaged headers. */
const MOST_PIXELS = 2 ** 28;

/**
 * Decodes a PNG that is not interlaced (W3C PNG specification, sections 7 to 9). Samples are the stored numbers; palette,
 * gamma and transparency are not applied.
 * @throws Error that says what is wrong, without the file's name
 */
export function decodePng(bytes: Buffer): PngPicture {
  const chunks = readChunks(bytes);
  const [header] = chunks.get('IHDR') ?? [];
  const data = chunks.get('IDAT') ?? [];
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
  const type = COLOR_TYPES[color];
  if (!type?.depths.includes(depth))
    throw new Error(`it has the unknown colour type ${color}, ${depth} bits`);
  if (interlace !== 0) throw new Error('it is interlaced; save it without interlacing');
  if (width === 0 || height === 0 || width * height > MOST_PIXELS) {
    throw new Error(`its header says ${width} x ${height} pixels`);
  }
  const { channels } = type;
  const stride = Math.ceil((width * channels * depth) / 8);
  const size = height * (stride + 1);
  const raw = inflated(Buffer.concat(data), size);
  if (raw.length !== size) throw new Error('it is cut short');
  unfilter(raw, height, stride, Math.max(1, (channels * depth) / 8));
  const palette = color === PALETTE ? Uint8Array.from(chunks.get('PLTE')?.[0] ?? []) : null;
  const samples = unpack(raw, height, width * channels, stride, depth);
  return { height, width, channels, depth, samples, palette };
}

/** The bytes behind the compression, `size` of them at most. */
function inflated(data: Buffer, size: number): Buffer {
  try {
    return inflateSync(data, { maxOutputLength: size });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') throw error;
    throw new Error('it holds more pixels than its size says');
  }
}

function readChunks(bytes: Buffer): Map<string, Buffer[]> {
  if (bytes.length < 33 || !bytes.subarray(0, 8).equals(SIGNATURE)) throw new Error('it is not a PNG file');
  const chunks = new Map<string, Buffer[]>();
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (body.length < length) throw new Error('it is cut short');
    if (type === 'IEND') break;
    chunks.set(type, [...(chunks.get(type) ?? []), body]);
    at += 12 + length;
  }
  return chunks;
}

/** Undoes the filters in place. Every row starts with its filter type; "left" is as many bytes back as a pixel has. */
function unfilter(raw: Buffer, height: number, stride: number, pixel: number): void {
  for (let y = 0; y < height; y++) {
    const row = y * (stride + 1) + 1;
    const type = raw[row - 1]!;
    if (type > 4) throw new Error(`row ${y} has the unknown filter ${type}`);
    if (type === 0) continue;
    for (let x = 0; x < stride; x++) {
      const left = x >= pixel ? raw[row + x - pixel]! : 0;
      const up = y > 0 ? raw[row + x - stride - 1]! : 0;
      const corner = x >= pixel && y > 0 ? raw[row + x - stride - 1 - pixel]! : 0;
      raw[row + x] = raw[row + x]! + predicted(type, left, up, corner);
    }
  }
}

function predicted(type: number, left: number, up: number, corner: number): number {
  if (type === 1) return left;
  if (type === 2) return up;
  return type === 3 ? (left + up) >> 1 : paeth(left, up, corner);
}

function paeth(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const a = Math.abs(estimate - left);
  const b = Math.abs(estimate - up);
  const c = Math.abs(estimate - corner);
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

/** Samples of rows of `length` samples each. */
function unpack(
  raw: Buffer,
  height: number,
  length: number,
  stride: number,
  depth: number,
): Uint8Array | Uint16Array {
  const samples = depth === 16 ? new Uint16Array(length * height) : new Uint8Array(length * height);
  const mask = (1 << depth) - 1;
  for (let y = 0; y < height; y++) {
    const row = y * (stride + 1) + 1;
    for (let x = 0; x < length; x++) {
      const bit = x * depth;
      const byte = row + (bit >> 3);
      samples[y * length + x] =
        depth === 16 ? raw.readUInt16BE(byte) : (raw[byte]! >> (8 - depth - (bit & 7))) & mask;
    }
  }
  return samples;
}
