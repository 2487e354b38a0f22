import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findRuns } from './history.js';

it('names what is no folder, where runs are looked for', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dopt-history-'));
  writeFileSync(join(folder, 'runs.txt'), '');
  expect(findRuns(folder)).toEqual([]);
  for (const name of ['runs', 'runs.txt'])
    expect(() => findRuns(join(folder, name))).toThrowError(expect.objectContaining({ code: 'RUNS_ROOT' }));
  rmSync(folder, { recursive: true });
});
