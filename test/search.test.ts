import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './bridge-fake.js';
import { dopt, printedError, ROOT, startDopt } from './helpers/cli.js';
import { pythonOf } from './helpers/frameworks.js';
import { hasRay, startRay } from './helpers/ray.js';

if (!hasRay) console.log('skipped: no Ray (npm test puts it into .dopt/test-ray-packages)');

let folder: string;
const scenario = (): string => join(folder, 'scen.yaml');
const search = (out: string, ...more: string[]): string[] => [
  ...['search', '-c', scenario(), '--target', 'kirin9020', '--out', join(folder, out)],
  ...['--threads', '1', '--json', ...more],
];
const journal = (out: string): string => join(folder, out, 'log_search/search.ndjson');
/** Proposals and scores, which no kill may change. */
const told = (out: string): string[] =>
  readFileSync(journal(out), 'utf8')
    .split('\n')
    .filter((line) => /"(proposed|scored)"/.test(line));

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-search-'));
  cpSync(join(ROOT, 'test/fixtures/search'), folder, { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('dopt search', () => {
  it('finds networks, the same after a kill, and writes programs that run alone', async () => {
    const whole = await dopt(search('whole'));
    expect(whole.code, whole.err + whole.out).toBe(0);
    const { tried, failed, networks } = JSON.parse(whole.out);
    expect([tried, failed]).toEqual([8, 0]);
    for (const { costs } of networks) expect(costs[0]).toBeLessThanOrEqual(20_000);

    const { child, ended } = startDopt(search('killed'));
    const lines = (): number => (existsSync(journal('killed')) ? told('killed').length : 0);
    await until(() => lines() >= 6 || undefined, 'a round', 120_000);
    child.kill('SIGKILL');
    await ended;
    const resumed = await dopt(search('killed', '--workers', '2'));
    expect(resumed.code, resumed.err + resumed.out).toBe(0);
    const scores = (lines: string[]): string[] => [...lines].sort();
    expect(scores(told('killed'))).toEqual(scores(told('whole')));

    expect(readFileSync(join(folder, 'whole/search.html'), 'utf8')).toContain('<section id="front">');
    const results = readdirSync(join(folder, 'whole/results'));
    expect(results).toHaveLength(networks.length);
    execFileSync(await pythonOf('torch'), [join(folder, 'whole/results', results[0]!)]);
    const [first] = networks;
    const model = join(folder, 'whole/results/model_arch_result_0.onnx');
    const cost = await dopt(['cost', model, '--target', 'kirin9020', '--precision', 'fp16', '--json']);
    // What the search said of the network is what its file is.
    expect(JSON.parse(cost.out).model.parameters).toBe(first.costs[0]);
  });

  it('trains the best of networks on that are trained alone, the same after a kill', async () => {
    const text = readFileSync(scenario(), 'utf8');
    const alone = 'evaluator: {kind: standalone, epochs: 2, halving: {factor: 2}, inherit: true}';
    writeFileSync(scenario(), text.replace('evaluator: {tune: 2}', alone));
    const whole = await dopt(search('alone'));
    expect(whole.code, whole.err + whole.out).toBe(0);
    const { child, ended } = startDopt(search('alone-killed'));
    const lines = (): number => (existsSync(journal('alone-killed')) ? told('alone-killed').length : 0);
    await until(() => lines() >= 8 || undefined, 'a network that is trained on', 120_000);
    child.kill('SIGKILL');
    await ended;
    const resumed = await dopt(search('alone-killed'));
    writeFileSync(scenario(), text);
    expect(resumed.code, resumed.err + resumed.out).toBe(0);
    expect(told('alone-killed')).toEqual(told('alone'));
    expect(told('alone').filter((line) => line.includes('"epochs":2,"score"')).length).toBeGreaterThan(2);
    expect(told('alone').some((line) => line.includes('"parents":[{"key"'))).toBe(true);
  });

  it.skipIf(!hasRay)('tries the same networks on a Ray cluster of two workers', async () => {
    const cluster = await startRay();
    try {
      const { address, env } = cluster;
      const more = ['--executor', 'ray', '--ray-address', address, '--workers', '2', '--env', 'system'];
      const ended = await dopt(search('ray', ...more), { env });
      expect(ended.code, ended.err + ended.out).toBe(0);
      expect(told('ray').sort()).toEqual(told('whole').sort());
    } finally {
      await cluster.stop();
    }
  });

  it('refuses limits that no network keeps before anything is trained', async () => {
    const text = readFileSync(scenario(), 'utf8');
    writeFileSync(scenario(), text.replace('20k', '0.02'));
    const ended = await dopt(search('none'));
    writeFileSync(scenario(), text);
    expect(ended.code).toBe(3);
    expect(printedError(ended)).toMatchObject({ code: 'SEARCH_IMPOSSIBLE' });
    expect(existsSync(journal('none'))).toBe(false);
  });
});
