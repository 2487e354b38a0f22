import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { npy, png } from '../../test/helpers/array-files.js';
import { imageMetricSchema } from '../config/metric.js';
import { ImageScorer, pixelsOf, psnr } from './image.js';
import { readPicture } from './picture.js';

const metric = imageMetricSchema.parse({ kind: 'image' });
const rgb = { layout: 'nchw', color: 'rgb' } as const;
const picture = (height: number, width: number, channels: number, values: number[]) => ({
  height,
  width,
  channels,
  values: Float64Array.from(values),
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-image-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, bytes: Buffer): string => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};

describe('pixelsOf', () => {
  it('rounds and cuts to what a file of 8 bits holds', () => {
    const output = { data: [0, 1, 0.5, -3, 2, 0.25], shape: [1, 1, 2, 3], integer: false };
    expect([...pixelsOf(output, metric, rgb).values]).toEqual([0, 255, 128, 0, 255, 64]);
    const signed = { data: [-1, 0, 1], shape: [1, 1, 1, 3], integer: false };
    expect([...pixelsOf(signed, { range: [-1, 1] }, rgb).values]).toEqual([0, 128, 255]);
  });

  it('brings layouts and colour orders to R, G, B', () => {
    const planes = { data: [1, 0, 0, 0.2, 0, 0.4], shape: [1, 3, 1, 2], integer: false };
    expect([...pixelsOf(planes, metric, rgb).values]).toEqual([255, 0, 0, 0, 51, 102]);
    const bgr = pixelsOf(planes, metric, { layout: 'nchw', color: 'bgr' });
    expect([...bgr.values]).toEqual([0, 0, 255, 102, 51, 0]);
    const last = { data: [1, 0, 0, 0, 0.2, 0.4], shape: [1, 1, 2, 3], integer: false };
    expect([...pixelsOf(last, metric, { layout: 'nhwc', color: 'rgb' }).values]).toEqual([
      ...[255, 0, 0],
      ...[0, 51, 102],
    ]);
  });

  it('refuses what is no picture', () => {
    const output = { data: [0, 1], shape: [1, 2, 1, 1], integer: false };
    expect(() => pixelsOf(output, metric, rgb)).toThrowError(/1 or 3, H, W/);
  });
});

describe('psnr', () => {
  it('is 10 log10 of 255² over the mean squared error', () => {
    const reference = picture(1, 4, 1, [10, 20, 30, 40]);
    const output = picture(1, 4, 1, [12, 18, 32, 38]);
    expect(psnr(output, reference, metric, 'a')).toBeCloseTo(10 * Math.log10(255 ** 2 / 4), 12);
    expect(psnr(reference, reference, metric, 'a')).toBe(100);
  });

  it('leaves a border out', () => {
    const reference = picture(3, 3, 1, [0, 0, 0, 0, 50, 0, 0, 0, 0]);
    const output = picture(3, 3, 1, [255, 255, 255, 255, 51, 255, 255, 255, 255]);
    expect(psnr(output, reference, { ...metric, border: 1 }, 'a')).toBeCloseTo(20 * Math.log10(255), 12);
    expect(() => psnr(output, reference, { ...metric, border: 2 }, 'a')).toThrowError(
      expect.objectContaining({ code: 'METRIC_REFERENCE' }),
    );
  });

  it('compares the luma of colours where it is asked to, and where the output is gray', () => {
    const [red, dark] = [picture(1, 1, 3, [200, 0, 0]), picture(1, 1, 3, [190, 0, 0])];
    const step = (65.481 * 10) / 255;
    expect(psnr(dark, red, { ...metric, channel: 'luma' }, 'a')).toBeCloseTo(20 * Math.log10(255 / step), 10);
    // 0.299 · 200 = 59.8, a gray of 60.
    expect(psnr(picture(1, 1, 1, [61]), red, metric, 'a')).toBeCloseTo(20 * Math.log10(255), 12);
  });

  it('says when the reference does not fit', () => {
    expect(() => psnr(picture(1, 2, 1, [0, 0]), picture(2, 1, 1, [0, 0]), metric, 'ref.png')).toThrowError(
      expect.objectContaining({ code: 'METRIC_REFERENCE', place: 'ref.png', found: '2 x 1 x 1' }),
    );
    const colour = picture(1, 1, 3, [0, 0, 0]);
    expect(() => psnr(colour, picture(1, 1, 1, [0]), metric, 'ref.png')).toThrowError(/does not fit/);
  });
});

describe('readPicture', () => {
  it('reads colours, gray and palettes, of 8 and 16 bits', () => {
    expect(readPicture(file('c.png', png(1, [[0, 1, 2, 3]], { color: 2 })))).toEqual(
      picture(1, 1, 3, [1, 2, 3]),
    );
    expect(readPicture(file('a.png', png(1, [[0, 1, 2, 3, 0]], { color: 6 })))).toEqual(
      picture(1, 1, 3, [1, 2, 3]),
    );
    expect(readPicture(file('d.png', png(1, [[0, 0x80, 0x80]], { depth: 16 }))).values[0]).toBeCloseTo(
      128,
      10,
    );
    const palette = [0, 0, 0, 9, 8, 7];
    expect(readPicture(file('p.png', png(1, [[0, 1]], { color: 3, palette })))).toEqual(
      picture(1, 1, 3, [9, 8, 7]),
    );
    expect(readPicture(file('n.npy', npy('|u1', '1, 2, 3', Uint8Array.of(1, 2, 3, 4, 5, 6))))).toEqual(
      picture(1, 2, 3, [1, 2, 3, 4, 5, 6]),
    );
  });

  it('names what it cannot read', () => {
    const path = file('x.npy', npy('|u1', '2,', Uint8Array.of(1, 2)));
    expect(() => readPicture(path)).toThrowError(
      expect.objectContaining({ code: 'LABELS_UNREADABLE', place: path }),
    );
  });
});

describe('ImageScorer', () => {
  it('averages over pictures and refuses NaN', () => {
    const files = [0, 1].map((i) => file(`${i}.npy`, npy('|u1', '1, 1', Uint8Array.of(i))));
    const scorer = new ImageScorer(metric, rgb, files);
    const level = (value: number) => ({ y: { data: [value / 255], shape: [1, 1, 1, 1], integer: false } });
    scorer.add(0, level(0), level(1));
    scorer.add(1, level(1), level(11));
    const [score] = scorer.result()!.scores;
    expect(score).toMatchObject({ name: 'PSNR', unit: 'dB', float: 100 });
    expect(score!.quantized).toBeCloseTo((20 * Math.log10(255) + 20 * Math.log10(25.5)) / 2, 10);
    expect(() => scorer.add(0, level(0), level(Number.NaN))).toThrowError(
      expect.objectContaining({ code: 'METRIC_NOT_FINITE', exitCode: 7 }),
    );
  });
});
