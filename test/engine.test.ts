import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXIT } from '../src/errors.js';
import { dopt, inFolder, quick } from './helpers/cli.js';

describe('dopt quantize --without', () => {
  it('leaves algorithms out and says so in the result, the manifest and the report', () =>
    inFolder(async (folder) => {
      const whole = join(folder, 'whole');
      const less = join(folder, 'less');
      const names = ['refine-ranges', 'reconstruction', 'bias-correction'];
      const without = names.flatMap((name) => ['--without', name]);
      expect((await dopt(quick(whole))).code).toBe(0);
      expect((await dopt(quick(less, ...without))).code).toBe(0);
      const read = (out: string, file: string) => JSON.parse(readFileSync(join(out, file), 'utf8'));
      const stages = (out: string): string[] =>
        read(out, 'result.json').stages.map(({ name }: { name: string }) => name);
      expect(stages(whole)).toContain('refine');
      expect(stages(less)).not.toContain('refine');
      expect(read(whole, 'result.json').settings.without).toEqual([]);
      expect(read(less, 'manifest.json').details.settings.without).toEqual(names);
      expect(readFileSync(join(less, 'report.html'), 'utf8')).toContain(names.join(', '));
    }));

  it('refuses a name that it does not know, with one that comes near', () =>
    inFolder(async (folder) => {
      const { code, err } = await dopt(quick(join(folder, 'run'), '--without', 'bias-corection'));
      expect(code).toBe(EXIT.usage);
      expect(err).toContain('ALGORITHM_UNKNOWN');
      expect(err).toContain('Did you mean bias-correction?');
    }));
});
