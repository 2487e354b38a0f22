import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { costSchema } from '../src/config/cost.js';
import { digits, dopt, inFolder, ROOT } from './helpers/cli.js';

const kirin = readFileSync(join(ROOT, 'targets/kirin9020.yaml'), 'utf8');

describe('dopt cost', () => {
  it('prints totals with their ranges, kernels, and what to change', async () => {
    const { code, out, err } = await dopt(['cost', 'zoo:vgg16', '--target', 'kirin9020', '--layers', '3']);
    expect([code, err]).toEqual([0, '']);
    for (const precision of ['fp16', 'int8', 'int16', 'int4'])
      expect(out).toMatch(new RegExp(`^kirin9020 +${precision} +[\\d.]+ +[\\d.]+ to [\\d.]+ `, 'm'));
    expect(out).toContain('vgg16: 15\u202f470 million multiplications, 138 million parameters');
    expect(out).toContain('Kernels on kirin9020 in int8, the 3 slowest of 23:');
    expect(out).toMatch(/^1\. gemm_1: waits for its weights: 4-bit weights \(int4\) .* Saves [\d.]+ ms/m);
    expect(out).toContain(
      'Rests on assumed values; one per cent more of each changes the time by:\nmemory.weights -0.',
    );
  });

  it('captures a model before it is quantized, once', () =>
    inFolder(async (folder) => {
      const model = join(folder, 'digits.onnx');
      copyFileSync(digits.model, model);
      const args = ['cost', model, '--target', 'kirin9000'];
      const first = await dopt([...args, '--json']);
      const result = costSchema.parse(JSON.parse(first.out));
      expect(result.costs.map(({ precision }) => precision)).toEqual(['fp16', 'int8']);
      expect(result.costs[1]!.layers.length).toBeGreaterThan(10);
      // No Python is started for a model that was seen before.
      const again = await dopt([...args, '--json'], { env: { DOPT_PYTHON: join(folder, 'none') } });
      expect(again.out).toBe(first.out);
      const [html, csv] = [join(folder, 'cost.html'), join(folder, 'cost.csv')];
      const files = ['--html', html, '--csv', csv];
      expect((await dopt([...args, ...files])).code).toBe(0);
      expect(readFileSync(html, 'utf8')).toMatch(/^<!doctype html>/i);
      const [head, ...rows] = readFileSync(csv, 'utf8').trim().split('\n');
      expect(head).toMatch(/^target,precision,kernel,operator,unit,/);
      expect(rows).toHaveLength(result.costs.reduce((sum, { layers }) => sum + layers.length, 0));
      const there = await dopt([...args, ...files]);
      expect(there.code).toBe(2);
      expect(there.err).toContain('COST_EXISTS');
    }));

  it('compares devices, each in what it computes in', async () => {
    const { out } = await dopt([
      ...['cost', 'zoo:resnet18', '--target', 'kirin9020', '--compare', 'kirin9000,ethos-u65-256', '--json'],
    ]);
    const { costs } = costSchema.parse(JSON.parse(out));
    expect(costs.map(({ target, precision }) => `${target} ${precision}`)).toEqual([
      ...['kirin9020 fp16', 'kirin9020 int8', 'kirin9020 int16', 'kirin9020 int4'],
      ...['kirin9000 fp16', 'kirin9000 int8', 'ethos-u65-256 int8', 'ethos-u65-256 int16'],
    ]);
  });

  it('refuses what it cannot judge, with place and remedy', () =>
    inFolder(async (folder) => {
      const file = (name: string, text: string): string => {
        writeFileSync(join(folder, name), text);
        return join(folder, name);
      };
      const profile = file('broken.yaml', kirin.replace('clock: { value: 1e9', 'clock: { value: fast'));
      const line = kirin.split('\n').findIndex((text) => text.includes('clock:')) + 1;
      const float = file('float.yaml', kirin.replace(/^ {4}int8:\n(?: {6}.*\n)+/m, ''));
      const network = JSON.parse((await dopt(['cost', 'zoo:vdsr', '--target', 'kirin9020', '--json'])).out);
      expect(network.costs).toHaveLength(4);
      const cases: [string[], number, string][] = [
        [['zoo:resnet51', '--target', 'kirin9020'], 3, 'zoo:resnet50'],
        [['zoo:vdsr', '--target', 'kirin902'], 2, 'kirin9020'],
        [['zoo:vdsr', '--target', profile], 3, `${profile}:${line}:`],
        [['zoo:vdsr', '--target', float, '--precision', 'int8'], 2, 'does not compute in int8'],
        [['zoo:vdsr', '--target', 'kirin9020', '--precision', 'int7'], 2, 'int8'],
        [[join(folder, 'none.onnx'), '--target', 'kirin9020'], 3, 'none.onnx'],
        [['zoo:vdsr@8', '--target', 'kirin9020'], 3, 'sides from 32'],
      ];
      for (const [args, code, text] of cases) {
        const ended = await dopt(['cost', ...args]);
        expect([args.join(' '), ended.code]).toEqual([args.join(' '), code]);
        expect(ended.err).toContain(text);
      }
    }));
});

describe('dopt target calibrate', () => {
  it('fits a profile that cost then takes, and names the place of what is wrong', () =>
    inFolder(async (folder) => {
      const [csv, out] = [join(folder, 'phone.csv'), join(folder, 'phone.yaml')];
      writeFileSync(csv, 'model,dtype,ms\nzoo:resnet50,int8,4.0\n');
      const args = ['target', 'calibrate', '--target', 'kirin9020', '--measurements', csv, '--out', out];
      expect((await dopt(args)).code).toBe(0);
      const { costs } = JSON.parse((await dopt(['cost', 'zoo:resnet50', '--target', out, '--json'])).out);
      const int8 = costs.find(({ precision }: { precision: string }) => precision === 'int8');
      expect(int8.seconds).toBeCloseTo(4e-3, 4);
      expect(int8.measured).toBe(1);

      writeFileSync(csv, 'model,dtype,ms\nzoo:resnet50,int8,fast\n');
      const wrong = await dopt([...args.slice(0, -1), join(folder, 'other.yaml')]);
      expect(wrong.code).toBe(3);
      expect(wrong.err).toContain(`${csv}:2:19`);
    }));
});
