import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRecipe } from '../src/config/recipe.js';
import { resultSchema } from '../src/config/result.js';
import type { Tuning } from '../src/config/tuning.js';
import { until } from './bridge-fake.js';
import { dopt, inFolder, printedError, quick, sha256, startDopt } from './helpers/cli.js';

const TRIES = 3;

let folder: string;
const tune = (out: string, ...more: string[]): string[] => [
  'tune',
  ...quick(join(folder, out)).slice(1),
  ...['--tries', String(TRIES), '--json', ...(more.includes('--budget') ? [] : ['--budget', '1h']), ...more],
];
const outcome = (text: string): Tuning => resultSchema.parse(JSON.parse(text)).tuning!;
const settled = ({ tries, chosen }: Tuning) => ({
  tries: tries.map(({ seconds: _, ...rest }) => rest),
  chosen,
});

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-tune-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('dopt tune', () => {
  it('finds settings, after a kill the same, and a recipe that makes the same model', async () => {
    const whole = await dopt(tune('whole'));
    expect(whole.code, whole.err + whole.out).toBe(0);
    const tuning = outcome(whole.out);
    const { tries, chosen, samples } = tuning;
    expect(tries).toHaveLength(TRIES);
    expect(tries[0]!.settings).toMatchObject({ effort: 'balanced', without: [], with: [] });
    expect(new Set(tries.map(({ settings }) => JSON.stringify(settings))).size).toBe(TRIES);
    expect(Number(tries[chosen]!.sqnr)).toBeGreaterThanOrEqual(Number(tries[0]!.sqnr));
    expect(samples).toBeGreaterThan(2);
    expect(readFileSync(join(folder, 'whole/report.html'), 'utf8')).toContain('<section id="tuning">');

    const out = join(folder, 'killed');
    const { child, ended } = startDopt(tune('killed'));
    const journal = join(out, 'tuning.ndjson');
    const lines = (): number =>
      existsSync(journal) ? readFileSync(journal, 'utf8').split('\n').length - 1 : 0;
    await until(() => lines() >= 2 || undefined, 'two tries', 120_000);
    child.kill('SIGKILL');
    await ended;
    expect(existsSync(join(out, 'model.int8.onnx')) && existsSync(join(out, 'quant_params.json'))).toBe(true);
    const before = readFileSync(journal, 'utf8');
    const resumed = await dopt(tune('killed', '--resume'));
    expect(resumed.code, resumed.err + resumed.out).toBe(0);
    const kept = before.slice(0, before.lastIndexOf('\n') + 1);
    expect(readFileSync(journal, 'utf8').startsWith(kept)).toBe(true);
    expect(settled(outcome(resumed.out))).toEqual(settled(tuning));
    const digest = sha256(join(folder, 'whole/model.int8.onnx'));
    expect(sha256(join(out, 'model.int8.onnx'))).toBe(digest);

    const recipe = join(folder, 'whole/recipe.yaml');
    expect((await loadRecipe(recipe)).engine).toMatchObject({ effort: tries[chosen]!.settings.effort });
    const again = await dopt(quick(join(folder, 'again'), '--recipe', recipe));
    expect(again.code, again.err).toBe(0);
    expect(sha256(join(folder, 'again/model.int8.onnx'))).toBe(digest);
  });

  it('refuses a budget that is no time, and flags of goals', async () => {
    const ended = await dopt(tune('bad', '--budget', 'soon'));
    expect(ended.code).toBe(2);
    expect(printedError(ended)).toMatchObject({ code: 'USAGE', found: 'soon' });
    expect((await dopt(tune('bad', '--target-sqnr', '30'))).code).toBe(2);
    expect(existsSync(join(folder, 'bad'))).toBe(false);
  });
});

describe('--effort best', () => {
  it('keeps what helps, or is balanced to the byte', () =>
    inFolder(async (at) => {
      // Without anything left to compare, and with what a comparison found.
      const names = ['sum-targets', 'long-walk'];
      const best = quick(
        join(at, 'best'),
        '--effort',
        'best',
        '--json',
        ...names.flatMap((n) => ['--without', n]),
      );
      const ended = await dopt(best);
      expect(ended.code, ended.err + ended.out).toBe(0);
      const { settings, tuning } = resultSchema.parse(JSON.parse(ended.out));
      expect(tuning!.tries.map(({ settings: { with: added } }) => added)).toEqual([[], ['least-error']]);
      const same = quick(join(at, 'same'), ...settings.with.flatMap((name) => ['--with', name]));
      expect((await dopt(same)).code).toBe(0);
      expect(sha256(join(at, 'best/model.int8.onnx'))).toBe(sha256(join(at, 'same/model.int8.onnx')));
    }));
});
