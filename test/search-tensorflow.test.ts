import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dopt, ROOT } from './helpers/cli.js';
import { pythonOf } from './helpers/frameworks.js';

let folder: string;
const run = async (...args: string[]) => {
  const ended = await dopt([
    ...['search', ...args, '-c', join(folder, 'scen.yaml'), '--target', 'kirin9020'],
    ...['--threads', '1', '--json'],
  ]);
  expect(ended.code, ended.err + ended.out).toBe(0);
  return JSON.parse(ended.out);
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-search-'));
  cpSync(join(ROOT, 'test/fixtures/search-tf'), folder, { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('finds networks in TensorFlow, trains one of them and quantizes it', async () => {
  const { tried, failed, networks } = await run();
  expect([tried, failed]).toEqual([8, 0]);
  for (const { costs } of networks) expect(costs[0]).toBeLessThanOrEqual(20_000);
  expect(readFileSync(join(folder, 'search.html'), 'utf8')).toContain('<section id="front">');

  execFileSync(await pythonOf('tensorflow'), [networks[0].file], { stdio: 'ignore' });
  expect(existsSync(join(folder, 'results/model_arch_result_0.pb'))).toBe(true);

  const { score, quantized } = await run('retrain', '0', '--epochs', '2', '--quantize');
  expect(score).toBeGreaterThan(0);
  expect(quantized.result.verification.task.scores[0].name).toBe('top-1');
  expect(existsSync(join(quantized.run, 'model_arch_result_0.int8.pb'))).toBe(true);
});
