import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from './helpers/cli.js';

const bench = (...args: string[]) =>
  spawnSync(process.execPath, [join(ROOT, 'node_modules/.bin/tsx'), 'test/bench/accuracy.ts', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, DOPT_ASSETS: join(work, 'none') },
  });

let work: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'dopt-bench-'));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('npm run bench:accuracy', () => {
  it('measures the shipped network once and prints its table', () => {
    const args = ['--models', 'digits', '--peers', 'none', '--work', work];
    const first = bench(...args);
    expect(first.stderr).toContain('only digits can be measured');
    expect(first.status).toBe(0);
    const rows = first.stdout.split('\n').filter((line) => line.startsWith('| **dopt**'));
    expect(rows[0]).toMatch(
      /^\| \*\*dopt\*\* default \| 99\.8 → 9\d\.\d ± \d\.\d \| \d+\.\d ± \d\.\d \| \d\d\.\d \| 18 of 18 \| 4 of 16 \|/,
    );
    // Its sums are made by layers, of 8-bit terms.
    expect(rows.at(-1)).toMatch(/^\| \*\*dopt\*\* generic-npu .*\| 18 of 18 \| 0 of 16 \|/);

    const result = join(work, 'digits/dopt/default/result.json');
    const made = statSync(result).mtimeMs;
    expect(bench(...args).stdout).toBe(first.stdout);
    expect(statSync(result).mtimeMs).toBe(made);
  });

  it('says which networks and peers there are', () => {
    expect(bench('--models', 'digit', '--work', work).stderr).toMatch(/digit is none of: digits, resnet20/);
    expect(bench('--peers', 'ort', '--work', work).stderr).toMatch(/ort is none of: onnxruntime, nncf/);
  });
});
