import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseNotrainConfig } from './config.js';
import { inputParts } from './input-parts.js';
import type { Layout } from './request.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-parts-'));
  mkdirSync(join(folder, 'pictures/deeper'), { recursive: true });
  for (const name of ['a.PNG', 'b.jpeg', '.hidden.png', 'notes.txt'])
    writeFileSync(join(folder, 'pictures', name), '');
  mkdirSync(join(folder, 'clean'));
  writeFileSync(join(folder, 'clean/a.webp'), '');
  writeFileSync(join(folder, 'data.bin'), '');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const parts = (blocks: string[], shapes: Record<string, number[]>, layout: Layout = 'nchw') =>
  inputParts(
    parseNotrainConfig(blocks.map((block) => `preprocess_parameter { ${block} }\n`).join(''), 'c.prototxt'),
    Object.entries(shapes).map(([name, dims]) => ({ name, dims })),
    layout,
    folder,
  );

const IMAGE = 'input_file_path: "clean"';
const BINARY = 'input_type: BINARY input_file_path: "data.bin"';

describe('inputParts', () => {
  it('gives each input its block, in order, pictures scaled to the shape', () => {
    const found = parts([`${IMAGE} mean_value: [1, 2, 3] standard_deviation: 4`, BINARY], {
      x: [1, 3, 5, 7],
      y: [1, 9],
    });
    expect(found.warnings).toEqual([]);
    expect(found.parts).toEqual([
      {
        input: 'x',
        path: join(folder, 'clean'),
        preprocess: {
          color: 'bgr',
          resize: [5, 7],
          interpolation: 'bilinear',
          mean: [1, 2, 3],
          std: 4,
          layout: 'nchw',
        },
      },
      {
        input: 'y',
        path: join(folder, 'data.bin'),
        preprocess: { color: 'rgb', interpolation: 'bilinear', mean: 0, std: 1, layout: 'nchw' },
      },
    ]);
  });

  it('names what a folder holds besides pictures', () => {
    const { warnings } = parts(['input_file_path: "pictures"'], { x: [1, 3, 5, 7] });
    expect(warnings).toEqual([expect.stringContaining('.hidden.png, deeper/, notes.txt are ignored')]);
  });

  it('takes shapes for NHWC in both orders', () => {
    const turned = parts([IMAGE], { x: [1, 3, 5, 7] }, 'nhwc');
    expect(turned.shapes).toEqual([{ name: 'x', dims: [1, 5, 7, 3] }]);
    expect(turned.warnings).toEqual([expect.stringContaining('is read as n,c,h,w')]);
    const straight = parts([IMAGE], { x: [1, 5, 7, 3] }, 'nhwc');
    expect(straight).toMatchObject({ shapes: [{ dims: [1, 5, 7, 3] }], warnings: [] });
    expect([turned, straight].map((found) => found.parts[0]!.preprocess)).toEqual(
      Array(2).fill(expect.objectContaining({ resize: [5, 7], layout: 'nhwc' })),
    );
    expect(parts([BINARY], { x: [1, 3, 5, 7] }, 'nhwc').shapes).toEqual([{ name: 'x', dims: [1, 3, 5, 7] }]);
  });

  it.each<[string, string[], Record<string, number[]>, string, string, RegExp]>([
    [
      'too few blocks',
      [IMAGE],
      { x: [1, 3, 5, 7], y: [1] },
      'COMPAT_INPUT_COUNT',
      '1:22',
      /2 inputs \(x, y\).* 1 /,
    ],
    ['too many blocks', [IMAGE, BINARY], { x: [1, 3, 5, 7] }, 'COMPAT_INPUT_COUNT', '2:22', /1 inputs/],
    [
      'a missing path',
      ['input_file_path: "no"'],
      { x: [1, 3, 5, 7] },
      'COMPAT_INPUT_PATH',
      '1:41',
      /not exist/,
    ],
    [
      'a file as a folder',
      ['input_file_path: "data.bin"'],
      { x: [1, 3, 5, 7] },
      'COMPAT_INPUT_PATH',
      '1:41',
      /is a file/,
    ],
    [
      'a folder as a file',
      ['input_type: BINARY input_file_path: "clean"'],
      { x: [1] },
      'COMPAT_INPUT_PATH',
      '1:60',
      /is a folder/,
    ],
    ['a shape of no picture', [IMAGE], { x: [1, 10] }, 'COMPAT_CHANNELS', '1:22', /none of a picture/],
    ['five channels', [IMAGE], { x: [1, 5, 8, 8] }, 'COMPAT_CHANNELS', '1:22', /none of a picture/],
    [
      'two means',
      [`${IMAGE} mean_value: [1, 2]`],
      { x: [1, 3, 5, 7] },
      'COMPAT_CHANNELS',
      '1:62',
      /2 values of mean/,
    ],
    [
      'three deviations of a gray picture',
      [`${IMAGE} standard_deviation: [1, 2, 3]`],
      { x: [1, 1, 5, 7] },
      'COMPAT_CHANNELS',
      '1:70',
      /3 values of standard_deviation.* 1 channel/,
    ],
  ])('refuses %s at its place', (_, blocks, shapes, code, place, message) => {
    expect(() => parts(blocks, shapes)).toThrow(
      expect.objectContaining({
        code,
        place: `c.prototxt:${place}`,
        message: expect.stringMatching(message),
      }),
    );
  });

  it('proposes the other layout when the shape fits that', () => {
    expect(() => parts([IMAGE], { x: [1, 5, 7, 3] })).toThrow(
      expect.objectContaining({ suggestions: ['Give --input_format NHWC.'] }),
    );
  });
});
