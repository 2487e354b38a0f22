import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Analysis, analysisSchema, type QuantizerAnalysis } from '../src/config/analysis.js';
import { dopt, printedError, quick } from './helpers/cli.js';
import { spikyModel } from './helpers/spiky.js';

let folder: string;
let run: string;
let analysis: Analysis;
let files: { model: string; data: string };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-analyze-'));
  files = await spikyModel(folder);
  run = join(folder, 'run');
  const ended = await dopt([
    'analyze',
    files.model,
    '--data',
    files.data,
    '--effort',
    'fast',
    '--out',
    run,
    '--json',
  ]);
  expect(ended.code, ended.err + ended.out).toBe(0);
  analysis = analysisSchema.parse(JSON.parse(ended.out));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const found = (name: string): QuantizerAnalysis => analysis.quantizers.find((each) => each.name === name)!;

describe('dopt analyze', () => {
  it('ranks the tensors with rare huge values first, each fatal alone, and finds the flag that cures them', () => {
    const worst = [...analysis.quantizers].sort((a, b) => a.rank - b.rank).slice(0, 3);
    expect(worst.map(({ name }) => name).sort()).toEqual(['stage0.wide', 'stage1.wide', 'stage2.wide']);
    for (const { name, solo, remedies } of worst) {
      expect(Number(solo.outputs[0]), name).toBeLessThan(12);
      expect(remedies[0], name).toMatchObject({ operation: 'int16', flag: `--int16 ${name}` });
      expect(remedies[0]!.removes, name).toBeGreaterThan(0.9);
      // Neither another range nor a scale a channel would do.
      const others = remedies.filter(({ operation }) => !['int16', 'float'].includes(operation));
      expect(
        others.every(({ removes }) => removes < 0.9),
        name,
      ).toBe(true);
    }
  });

  it('covers every quantizer of the run, shares and ranks complete', () => {
    const plan = JSON.parse(readFileSync(join(run, 'plan.json'), 'utf8'));
    const names = (kind: string) =>
      analysis.quantizers.filter((one) => one.kind === kind).map(({ name }) => name);
    expect(names('activation').sort()).toEqual(
      plan.activations.map((one: { tensor: string }) => one.tensor).sort(),
    );
    expect(names('weight').sort()).toEqual(plan.weights.map((one: { node: string }) => one.node).sort());
    const ranks = analysis.quantizers.map(({ rank }) => rank).sort((a, b) => a - b);
    expect(ranks).toEqual(ranks.map((_, index) => index + 1));
    expect(analysis.quantizers.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 3);
  });

  it('adds errors up from front to back: none before the first rounding, all of them at the end', () => {
    expect(found('x').accumulated).toMatchObject({ outputs: found('x').solo.outputs, tensor: 'Infinity' });
    const last = Number(found('flat').accumulated!.outputs[0]);
    expect(Math.abs(last - Number(analysis.outputs[0]!.sqnr))).toBeLessThan(0.5);
    expect(Number(found('stage1.wide').accumulated!.outputs[0])).toBeLessThan(12);
  });

  it('says how values are distributed', () => {
    const { distribution } = found('stage0.wide');
    expect(distribution!.tail!).toBeGreaterThan(4);
    expect(distribution!.kurtosis!).toBeGreaterThan(50);
    expect(distribution!.channels.count).toBe(12);
    expect(distribution!.growth!.points.map(({ samples }) => samples)).toEqual([1, 2, 4, 8, 16, 32, 64]);
    const weight = found('Conv_stage0.conv').distribution!;
    expect(weight.growth).toBeNull();
    expect(weight.histogram.reduce((a, b) => a + b, 0)).toBe(12 * 12 * 9);
    const relu = found('stage1.se.relu').distribution!;
    expect(relu.channels.dead.length).toBeGreaterThan(0);
    expect(analysis.findings.join('\n')).toContain('--int16 stage0.wide');
  });

  it('takes a finished run, tells the same in a table, and puts it into the report', async () => {
    const ended = await dopt(['analyze', run, '--top', '3', '--probe-samples', '4']);
    expect(ended.code, ended.err).toBe(0);
    expect(ended.out).toMatch(/#\s+quantizer/);
    expect(ended.out.split('\n').filter((line) => /^\s*\d+ {2}/.test(line))).toHaveLength(3);
    expect(ended.out).toContain('--int16 stage0.wide');
    expect(ended.err).toMatch(/each quantizer alone \(\d+ quantizers, about \d+ passes a sample\)/);
    const again = analysisSchema.parse(JSON.parse(readFileSync(join(run, 'analysis.json'), 'utf8')));
    expect(again.data.samples).toHaveLength(4);
    const report = readFileSync(join(run, 'report.html'), 'utf8');
    expect(report).toContain('<section id="analysis">');
    expect((await dopt(['report', run])).code).toBe(0);
    expect(readFileSync(join(run, 'report.html'), 'utf8')).toBe(report);
  });

  it('keeps nothing of a model without --out', async () => {
    const temporary = join(folder, 'temporary');
    mkdirSync(temporary);
    const flags = quick('', '--effort', 'fast', '--top', '2').filter(
      (flag) => flag !== '--out' && flag !== '',
    );
    const ended = await dopt(['analyze', ...flags.slice(1)], { env: { TMPDIR: temporary } });
    expect(ended.code, ended.err).toBe(0);
    expect(ended.out).toContain('what helps');
    expect(readdirSync(temporary).filter((name) => name.startsWith('dopt'))).toEqual([]);
  });
});

describe('it refuses', () => {
  it('a model without data', async () => {
    const ended = await dopt(['analyze', files.model, '--json']);
    expect(ended.code).toBe(2);
    expect(printedError(ended).suggestions[0]).toContain('--data');
  });

  it('a run whose data has changed', async () => {
    const changed = join(files.data, '000.npy');
    const kept = readFileSync(changed);
    rmSync(changed);
    const ended = await dopt(['analyze', run, '--json']);
    writeFileSync(changed, kept);
    expect(ended.code).toBe(3);
    expect(printedError(ended)).toMatchObject({ code: 'DATA_CHANGED', place: files.data });
  });
});
