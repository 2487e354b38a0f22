import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { preprocessSchema } from '../config/data.js';
import { describeBin, readBin, writeBin } from './bin.js';
import { encodeBinHeader } from './bin-file.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-bin-test-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A `.npy` file of float64 or float32. */
function npy(name: string, shape: number[], values: Float32Array | Float64Array): string {
  const type = values instanceof Float32Array ? '<f4' : '<f8';
  const header = `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  const path = join(folder, name);
  const start = Buffer.from('\x93NUMPY\x01\x00', 'latin1');
  writeFileSync(path, Buffer.concat([start, length, Buffer.from(header), Buffer.from(values.buffer)]));
  return path;
}

const write = (format: 510 | 610, inputs: string[], out: string, overwrite = false) =>
  writeBin({
    format,
    out: join(folder, out),
    inputs,
    preprocess: preprocessSchema.parse({}),
    overwrite,
    environment: 'venv',
    threads: 1,
    signal: new AbortController().signal,
  });

const values = (length: number, from = 0): Float32Array =>
  Float32Array.from({ length }, (_, i) => from + i / 4);

describe('writeBin and readBin', () => {
  it('join arrays along their first dimension', async () => {
    const inputs = [npy('a.npy', [1, 3, 2], values(6)), npy('b.npy', [1, 3, 2], values(6, 10))];
    const content = await write(610, inputs, 'joined.bin');
    expect(content).toMatchObject({ format: 610, shape: [2, 3, 2], min: 0, max: 11.25, notFinite: 0 });
    const bytes = readFileSync(content.path);
    expect(bytes.subarray(20)).toEqual(
      Buffer.concat([Buffer.from(values(6).buffer), Buffer.from(values(6, 10).buffer)]),
    );
    expect(content.mean).toBeCloseTo(5.625, 12);
    expect(describeBin(content)).toContain('2 x 3 x 2');
  });

  it('stack single pictures in kind 510', async () => {
    const inputs = ['c.npy', 'd.npy'].map((name) => npy(name, [3, 2, 2], values(12)));
    expect((await write(510, inputs, 'stacked.bin')).shape).toEqual([2, 3, 2, 2]);
  });

  it('count what is not finite and leave it out of the figures', async () => {
    const path = npy('odd.npy', [4], Float32Array.from([Number.NaN, Number.POSITIVE_INFINITY, 2, 4]));
    const content = await write(610, [path], 'odd.bin');
    expect(content).toMatchObject({ min: 2, max: 4, mean: 3, notFinite: 2 });
    expect(describeBin(content)).toContain('not finite 2');
    const none = await write(610, [npy('nan.npy', [1], Float32Array.from([Number.NaN]))], 'nan.bin');
    expect(none).toMatchObject({ min: null, max: null, mean: null, notFinite: 1 });
  });

  it('read files larger than a piece', async () => {
    const count = 300_001;
    const path = join(folder, 'large.bin');
    writeFileSync(path, Buffer.concat([encodeBinHeader(610, [count]), Buffer.from(values(count).buffer)]));
    expect(await readBin(path)).toMatchObject({ min: 0, max: (count - 1) / 4, notFinite: 0 });
  });

  it.each([
    ['other shapes', () => [npy('e.npy', [1, 2], values(2)), npy('f.npy', [1, 3], values(3))], 'BIN_INPUT'],
    ['too large', () => [npy('g.npy', [1, 1, 1, 1], Float64Array.from([1e300]))], 'BIN_INPUT'],
    ['rank 2 in kind 510', () => [npy('h.npy', [2, 2], values(4))], 'BIN_SHAPE'],
    ['no npy', () => [join(folder, 'none.npy')], 'BIN_UNREADABLE'],
    ['a folder among files', () => [folder, npy('i.npy', [1], values(1))], 'BIN_INPUT'],
  ])('refuse %s and leave nothing behind', async (_, inputs, code) => {
    const given = inputs();
    const before = readdirSync(folder);
    await expect(write(510, given, 'refused.bin')).rejects.toMatchObject({ code });
    expect(readdirSync(folder)).toEqual(before);
  });

  it('replace a file only when asked', async () => {
    const input = npy('j.npy', [2], values(2));
    await write(610, [input], 'there.bin');
    await expect(write(610, [input], 'there.bin')).rejects.toMatchObject({ code: 'BIN_OUT_EXISTS' });
    await expect(write(610, [input], 'there.bin', true)).resolves.toMatchObject({ shape: [2] });
    await expect(write(610, [input], 'j.npy', true)).rejects.toMatchObject({ code: 'BIN_INPUT' });
  });

  it('refuse what is no bin file', async () => {
    await expect(readBin(folder)).rejects.toMatchObject({ code: 'BIN_UNREADABLE' });
    await expect(readBin(join(folder, 'none.bin'))).rejects.toMatchObject({ code: 'BIN_UNREADABLE' });
    await expect(readBin(npy('k.npy', [2], values(2)))).rejects.toMatchObject({ code: 'BIN_BROKEN' });
  });
});
