import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { segmentationMetricSchema } from '../config/metric.js';
import { bootstrapInterval } from './bootstrap.js';
import { labelRank } from './classification.js';
import { readNpy } from './npy.js';
import { decodePng } from './png.js';
import { meanIou, overlap, predictedClasses } from './segmentation.js';

const metric = segmentationMetricSchema.parse({ kind: 'segmentation', classes: 3, ignore: [9] });
const map = (height: number, width: number, classes: number[]) => ({ height, width, classes });

describe('mIoU', () => {
  it('agrees with a case worked out by hand', () => {
    // Class 0: 2 shared of 4; class 1: 1 of 3; class 2 occurs nowhere. The last pixel is ignored.
    const picture = overlap(
      map(2, 3, [0, 0, 1, 1, 0, 2]),
      map(2, 3, [0, 0, 0, 1, 1, 9]),
      metric,
      'label.png',
    );
    expect(meanIou([picture])(Uint16Array.of(1))).toBeCloseTo((100 * (2 / 4 + 1 / 3)) / 2, 10);
    expect(picture).toMatchObject({ labelled: 5, right: 3 });
  });

  it('adds pictures up before it divides', () => {
    const first = overlap(map(1, 2, [0, 0]), map(1, 2, [0, 0]), metric, 'a');
    const second = overlap(map(1, 2, [1, 1]), map(1, 2, [0, 0]), metric, 'b');
    // Class 0: 2 of 4; class 1: 0 of 2.
    expect(meanIou([first, second])(Uint16Array.of(1, 1))).toBeCloseTo(25, 10);
  });

  it('samples a label map of another size at the nearest pixel', () => {
    const picture = overlap(map(1, 2, [0, 1]), map(2, 4, [0, 0, 1, 1, 0, 0, 1, 1]), metric, 'a');
    expect(picture.right).toBe(2);
  });

  it('names a label that is no class', () => {
    expect(() => overlap(map(1, 1, [0]), map(1, 1, [7]), metric, 'a.png')).toThrowError(
      /a\.png has the label 7/,
    );
  });
});

describe('predictedClasses', () => {
  it('takes scores and class numbers', () => {
    const scores = { data: [1, 0, 0, 2, 0, 1], shape: [1, 3, 1, 2], integer: false };
    expect([...Array.from(predictedClasses(scores, metric).classes)]).toEqual([0, 1]);
    const numbers = { data: [2, 1], shape: [1, 1, 2], integer: true };
    expect(predictedClasses(numbers, metric)).toMatchObject({ height: 1, width: 2 });
    expect(() =>
      predictedClasses({ data: [1, 2], shape: [1, 2, 1, 1], integer: false }, metric),
    ).toThrowError(/3 classes/);
  });
});

describe('labelRank', () => {
  it('breaks ties towards the lower class and puts NaN last', () => {
    expect([0, 1, 2].map((label) => labelRank([5, 5, 7], label))).toEqual([1, 2, 0]);
    expect(labelRank([1, Number.NaN, 0], 1)).toBe(3);
  });
});

describe('bootstrapInterval', () => {
  it('is the same every time, and wide where samples disagree', () => {
    const share = (counts: Uint16Array) => counts.subarray(0, 20).reduce((a, b) => a + b, 0) / 40;
    const interval = bootstrapInterval(40, share)!;
    expect(bootstrapInterval(40, share)).toEqual(interval);
    // Half of 40 samples: standard error .079, so about .5 ± .155.
    expect(interval[0]).toBeGreaterThan(0.28);
    expect(interval[0]).toBeLessThan(0.42);
    expect(interval[1]).toBeGreaterThan(0.58);
    expect(interval[1]).toBeLessThan(0.72);
    expect(bootstrapInterval(7, share)).toBeNull();
  });
});

/** A PNG with rows given as filter type and bytes. */
function png(width: number, rows: number[][], { depth = 8, color = 0, interlace = 0 } = {}): Buffer {
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
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

describe('decodePng', () => {
  it('undoes every filter', () => {
    const rows = [
      [0, 10, 20, 30],
      [1, 5, 5, 5],
      [2, 1, 1, 1],
      [3, 10, 10, 10],
      [4, 1, 2, 3],
    ];
    expect([...decodePng(png(3, rows)).samples]).toEqual([
      ...[10, 20, 30],
      ...[5, 10, 15],
      ...[6, 11, 16],
      // Average: 10 + ⌊6/2⌋, 10 + ⌊(13+11)/2⌋, 10 + ⌊(22+16)/2⌋.
      ...[13, 22, 29],
      // Paeth: up for the first; then the nearest of left, up, corner to left + up − corner.
      ...[14, 24, 32],
    ]);
  });

  it('unpacks small depths and keeps palette indices', () => {
    expect([...decodePng(png(3, [[0, 0b00_01_10_11]], { depth: 2, color: 3 })).samples]).toEqual([0, 1, 2]);
    expect([...decodePng(png(2, [[0, 0x9a]], { depth: 4 })).samples]).toEqual([9, 10]);
  });

  it('refuses what it cannot read', () => {
    expect(() => decodePng(Buffer.from('GIF89a'))).toThrowError(/not a PNG/);
    expect(() => decodePng(png(1, [[0, 1]], { color: 2 }))).toThrowError(/colour channels/);
    expect(() => decodePng(png(1, [[0, 1]], { interlace: 1 }))).toThrowError(/interlaced/);
    expect(() => decodePng(png(4, [[0, 1]]))).toThrowError(/cut short/);
    expect(() => decodePng(png(1, [[7, 1]]))).toThrowError(/filter 7/);
    expect(() => decodePng(png(1, [[0, 1]]).subarray(0, 50))).toThrowError(/cut short/);
  });
});

describe('readNpy', () => {
  const npy = (descr: string, shape: string, body: ArrayBufferView, order = 'False'): Buffer => {
    const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${shape}), }`;
    const header = Buffer.from(`${text.padEnd(117, ' ')}\n`);
    const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length, 0]);
    return Buffer.concat([start, header, Buffer.from(body.buffer, body.byteOffset, body.byteLength)]);
  };

  it('reads integers and floats', () => {
    expect(readNpy(npy('<i8', '3,', BigInt64Array.of(1n, -2n, 3n)))).toEqual({
      shape: [3],
      data: Float64Array.of(1, -2, 3),
    });
    expect(readNpy(npy('|u1', '1, 2', Uint8Array.of(7, 255))).data).toEqual(Float64Array.of(7, 255));
  });

  it('refuses other orders, types and lengths', () => {
    expect(() => readNpy(npy('<i4', '2,', Int32Array.of(1)))).toThrowError(/needs 8/);
    expect(() => readNpy(npy('<c8', '1,', Float64Array.of(1)))).toThrowError(/c8 is not supported/);
    expect(() => readNpy(npy('<i4', '1,', Int32Array.of(1), 'True'))).toThrowError(/Fortran/);
    expect(() => readNpy(Buffer.from('hello world, no npy'))).toThrowError(/not a .npy/);
  });
});
