import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import {
  encodeSafetensors,
  readSafetensors,
  SafetensorsFile,
  type Tensor,
  writeSafetensors,
} from './safetensors.js';

describe('safetensors', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'safetensors-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const tensors = new Map<string, Tensor>([
    ['odd', { data: Int8Array.of(-128, 0, 127), shape: [3] }],
    ['weight', { data: Float32Array.of(1.5, -0, Number.NaN, Number.POSITIVE_INFINITY), shape: [2, 2] }],
    ['counts', { data: BigUint64Array.of(2n ** 63n, 1n), shape: [2] }],
    ['scalar', { data: Int32Array.of(-7), shape: [] }],
    ['empty', { data: new Float32Array(0), shape: [0, 3] }],
  ]);

  it('gives back what was written, whatever the mix of element sizes', () => {
    const path = join(folder, 'a.safetensors');
    writeSafetensors(path, tensors);
    expect(readSafetensors(path)).toEqual(new Map([...tensors]));
  });

  it('writes the same bytes for the same tensors in any order', () => {
    const reversed = new Map([...tensors].reverse());
    expect(encodeSafetensors(reversed).equals(encodeSafetensors(tensors))).toBe(true);
  });

  it('refuses every truncation with an error that names the file', () => {
    const whole = encodeSafetensors(tensors);
    const path = join(folder, 'cut.safetensors');
    for (let length = 0; length < whole.length; length += 7) {
      writeFileSync(path, whole.subarray(0, length));
      expect(() => SafetensorsFile.open(path)).toThrow(UserError);
    }
  });

  it('says which tensor is missing or of another type', () => {
    const path = join(folder, 'a.safetensors');
    writeSafetensors(path, tensors);
    expect(() => SafetensorsFile.open(path).float32('odd')).toThrow(/no float32 tensor called odd/);
  });
});
