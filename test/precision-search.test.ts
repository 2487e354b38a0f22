import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resultSchema } from '../src/config/result.js';
import { until } from './bridge-fake.js';
import { dopt, printedError, sha256, startDopt } from './helpers/cli.js';
import { spikyModel } from './helpers/spiky.js';

const FATAL = ['stage0.wide', 'stage1.wide', 'stage2.wide'];
const GOAL = 15;

let folder: string;
let files: { model: string; data: string; labels: string };
const quantize = (out: string, ...more: string[]): string[] => [
  ...['quantize', files.model, '--data', files.data, '--effort', 'fast'],
  ...['--out', join(folder, out), '--json', ...more],
];
const search = (out: string, goal: number, ...more: string[]): string[] =>
  quantize(out, '--target-sqnr', String(goal), ...more);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-precision-'));
  files = await spikyModel(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a goal', () => {
  it('is reached by widening the fatal tensors, each try recorded, after a kill with the same result', async () => {
    const whole = await dopt(search('whole', GOAL));
    expect(whole.code, whole.err + whole.out).toBe(0);
    const { precision } = resultSchema.parse(JSON.parse(whole.out));
    const { tries, chosen, reached, samples } = precision!;
    const wide = [...tries[chosen]!.int16, ...tries[chosen]!.float];
    expect(reached).toBe(true);
    expect(wide.length).toBeLessThanOrEqual(5);
    expect(wide).toEqual(expect.arrayContaining(FATAL));
    expect(Number(tries[chosen]!.sqnr)).toBeGreaterThanOrEqual(GOAL);
    expect(Number(tries[0]!.sqnr)).toBeLessThan(GOAL);
    // So small a network takes the time of its kernels' starts in any precision.
    expect(tries[0]!.cost).toBeLessThanOrEqual(tries[chosen]!.cost);
    expect(samples).toBeGreaterThan(10);
    expect(readFileSync(join(folder, 'whole/report.html'), 'utf8')).toContain('<section id="precision">');

    const out = join(folder, 'killed');
    const { child, ended } = startDopt(search('killed', GOAL));
    const journal = join(out, 'precision.ndjson');
    const lines = (): number =>
      existsSync(journal) ? readFileSync(journal, 'utf8').split('\n').length - 1 : 0;
    await until(() => lines() >= 3 || undefined, 'three tries', 120_000);
    child.kill('SIGKILL');
    await ended;
    // The best model so far is there, and its parameters.
    expect(existsSync(join(out, 'spiky.int8.onnx')) && existsSync(join(out, 'quant_params.json'))).toBe(true);
    const before = readFileSync(journal, 'utf8');
    const resumed = await dopt(search('killed', GOAL, '--resume'));
    expect(resumed.code, resumed.err + resumed.out).toBe(0);
    expect(readFileSync(journal, 'utf8').startsWith(before.slice(0, before.lastIndexOf('\n') + 1))).toBe(
      true,
    );
    expect(resultSchema.parse(JSON.parse(resumed.out)).precision).toEqual(precision);
    expect(sha256(join(out, 'spiky.int8.onnx'))).toBe(sha256(join(folder, 'whole/spiky.int8.onnx')));
  });

  it('may be what the task metric loses at most', async () => {
    const most = 10;
    const ended = await dopt(quantize('drop', '--labels', files.labels, '--max-drop', String(most)));
    expect(ended.code, ended.err + ended.out).toBe(0);
    const { precision, verification } = resultSchema.parse(JSON.parse(ended.out));
    const { goal, metric, reached, tries, chosen } = precision!;
    expect({ goal, metric, reached }).toEqual({
      goal: { kind: 'drop', value: most },
      metric: 'top-1',
      reached: true,
    });
    expect(tries[0]!.drop).toBeGreaterThan(most);
    expect(tries[chosen]!.drop).toBeLessThanOrEqual(most);
    const [top1] = verification!.task!.scores;
    expect(top1!.float! - top1!.quantized).toBeLessThan(tries[0]!.drop! / 2);
  });

  it('out of reach ends with exit code 7 and the model that came nearest', async () => {
    const ended = await dopt(search('far', 300));
    expect(ended.code, ended.err).toBe(7);
    expect(printedError(ended)).toMatchObject({ code: 'GOAL_MISSED', expected: 'SQNR of at least 300 dB' });
    const { precision } = resultSchema.parse(
      JSON.parse(readFileSync(join(folder, 'far/result.json'), 'utf8')),
    );
    const best = Math.max(...precision!.tries.map(({ sqnr }) => Number(sqnr)));
    expect(precision!.reached).toBe(false);
    expect(Number(precision!.tries[precision!.chosen]!.sqnr)).toBe(best);
    expect(existsSync(join(folder, 'far/spiky.int8.onnx'))).toBe(true);
  });
});
