import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { npy } from '../../test/helpers/array-files.js';
import { readNpy, readNpyRow } from './npy.js';

describe('readNpy', () => {
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
    expect(() => readNpy(npy('<i4', '1, 1', Int32Array.of(1), 'True'))).toThrowError(/Fortran/);
    expect(() => readNpy(Buffer.from('hello world, no npy'))).toThrowError(/not a .npy/);
  });
});

describe('readNpyRow', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'dopt-npy-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('reads one row alone', () => {
    const path = join(folder, 'a.npy');
    writeFileSync(path, npy('<i8', '2, 3', BigInt64Array.of(1n, 2n, 3n, 4n, 5n, 6n)));
    expect(readNpyRow(path, 1)).toEqual({ shape: [3], data: Float64Array.of(4, 5, 6) });
    expect(() => readNpyRow(path, 2)).toThrowError(/2 rows, row 2/);
    writeFileSync(path, npy('<i8', '2, 3', BigInt64Array.of(1n)));
    expect(() => readNpyRow(path, 0)).toThrowError(/needs 48/);
  });
});
