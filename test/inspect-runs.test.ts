import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { digits, dopt, inFolder, quick } from './helpers/cli.js';

describe('dopt inspect', () => {
  it('counts layers and says what stays float, without data', async () => {
    const { code, out } = await dopt(['inspect', digits.model, '--target', 'generic-npu', '--json']);
    expect(code).toBe(0);
    const inspection = JSON.parse(out);
    expect(inspection.layers).toBe(18);
    expect(inspection.quantizers).toBeGreaterThan(18);
    expect(inspection.parameters).toBeGreaterThan(30_000);
    expect((await dopt(['inspect', digits.model])).out).toContain('18 layers');
  });

  it('refuses exclusions that match nothing', async () => {
    const { code, err } = await dopt(['inspect', digits.model, '--exclude', 'nothing']);
    expect(code).toBe(3);
    expect(err).toContain('EXCLUDE_UNKNOWN');
  });
});

describe('dopt runs', () => {
  it('lists, shows and compares', () =>
    inFolder(async (folder) => {
      const [a, b] = [join(folder, 'a'), join(folder, 'deeper/b')];
      expect((await dopt(quick(a))).code).toBe(0);
      expect((await dopt(quick(b, '--calibration', 'minmax', '--effort', 'fast'))).code).toBe(0);
      const list = JSON.parse((await dopt(['runs', 'list', '--root', folder, '--json'])).out);
      expect(list.map((run: { folder: string }) => run.folder).sort()).toEqual([a, b].sort());
      expect((await dopt(['runs', 'show', a])).out).toContain('SQNR');
      const difference = JSON.parse((await dopt(['runs', 'compare', a, b, '--json'])).out);
      expect(difference.settings.map(({ name }: { name: string }) => name).sort()).toEqual([
        'calibration',
        'effort',
      ]);
      expect(difference.scales.length).toBeGreaterThan(0);
      const missing = await dopt(['runs', 'show', join(folder, 'none')]);
      expect(missing.code).toBe(3);
      expect(missing.err).toContain('RUN_NOT_FOUND');
    }));
});
