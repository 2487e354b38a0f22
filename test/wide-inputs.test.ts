import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type RunResult, resultSchema } from '../src/config/result.js';
import { npy } from './helpers/array-files.js';
import { digits, dopt, inFolder } from './helpers/cli.js';

/** Samples of small values, beside which one position reaches −250 as the first coefficient of speech does in silence. */
function writeSamples(folder: string): void {
  mkdirSync(folder);
  for (let sample = 0; sample < 24; sample++) {
    const values = Float32Array.from({ length: 256 }, (_, i) => Math.sin(1 + 37 * sample + 11 * i));
    if (sample % 4 === 0) values[0] = -250;
    writeFileSync(join(folder, `${sample}.npy`), npy('<f4', '1, 16, 16', values));
  }
}

it('an input that 8 bits are too few for gets 16 where the target has them, unless that is switched off', () =>
  inFolder(async (folder) => {
    const data = join(folder, 'data');
    writeSamples(data);
    const run = async (name: string, ...more: string[]): Promise<RunResult> => {
      const out = join(folder, name);
      const args = ['quantize', digits.model, '--data', data, '--samples', '16', '--out', out, ...more];
      const { code, err } = await dopt(args);
      expect(code, err).toBe(0);
      return resultSchema.parse(JSON.parse(readFileSync(join(out, 'result.json'), 'utf8')));
    };
    const wide = await run('wide');
    expect(wide.settings.precision.int16).toEqual(['image']);
    expect(wide.quantization.int16).toBe(1);
    expect(wide.warnings.join(' ')).toContain('--without wide-inputs leaves it 8');

    const narrow = await run('narrow', '--target', 'kirin9000');
    expect(narrow.quantization.int16).toBe(0);
    expect(narrow.warnings.join(' ')).toMatch(/--int16 "image" gives it 16 bits on one of .*kirin9020/);
  }));
