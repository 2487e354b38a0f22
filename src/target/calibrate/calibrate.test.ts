import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../config/target.js';
import { Graph } from '../../graph/graph.js';
import { CostModel } from '../cost-model.js';
import { NO_FACTORS, PARAMETERS, type Parameter } from '../device.js';
import { loadTarget } from '../target-files.js';
import { ZOO } from '../zoo/index.js';
import { type CalibrateOptions, calibrate } from './calibrate.js';
import { conformalError, fit, spearman } from './evaluate.js';
import { featuresOf, secondsWith } from './features.js';
import type { Sample } from './fit.js';
import { solveSymmetric } from './linear.js';

const base: Target = { ...loadTarget('kirin9000'), calibration: undefined };
const model = new CostModel(base);
const NAMES = Object.keys(ZOO);
const features = new Map(
  NAMES.map((name) => [
    name,
    featuresOf(
      model.cost(model.lower(new Graph(ZOO[name]!())), { rest: 'fp16' }),
      'fp16',
      model.rates('fp16').overlap,
    ),
  ]),
);
const SPREADS = PARAMETERS.map(() => 0.6);

/** Times that a device with these factors would take, with a reproducible error of some per cent. */
function device(factors: Partial<Record<Parameter, number>>, noise: number, kinds = {}): Sample[] {
  const truth = { ...NO_FACTORS, ...factors };
  return NAMES.map((name, index) => ({
    features: features.get(name)!,
    seconds: secondsWith(features.get(name)!, truth, kinds) * Math.exp(noise * Math.sin(7 * index + 1)),
  }));
}

describe('features', () => {
  it('give the time of the model, with factors that of a device with other rates', () => {
    for (const name of ['resnet50', 'mobilenet-v2', 'yolov5s']) {
      const lowered = model.lower(new Graph(ZOO[name]!()));
      const now = model.predict(lowered, { rest: 'fp16' }).seconds;
      expect(secondsWith(features.get(name)!, NO_FACTORS) / now).toBeCloseTo(1, 12);
      const slower = structuredClone(base);
      slower.memory.weights.value /= 2;
      slower.memory.activations.value /= 2;
      slower.memory.onChip.bandwidth.value /= 2;
      slower.overhead.layer.value *= 3;
      const other = new CostModel(slower).predict(lowered, { rest: 'fp16' }).seconds;
      const factors = { ...NO_FACTORS, memory: 0.5, layer: 3 };
      expect(secondsWith(features.get(name)!, factors) / other).toBeCloseTo(1, 12);
    }
  });
});

describe('fitting', () => {
  it('finds one scale from few networks', () => {
    const samples = device({}, 0).slice(0, 3);
    const twice = samples.map((sample) => ({ ...sample, seconds: 2 * sample.seconds }));
    const { form, factors } = fit(twice, SPREADS);
    expect(form).toBe('scale');
    expect(factors.matrix).toBeCloseTo(0.5, 9);
    expect(factors.run).toBeCloseTo(2, 9);
  });

  it('finds the factors of a device, and is not led astray by networks that do not fit', () => {
    const truth = { matrix: 0.6, memory: 1.5, layer: 2.5, run: 0.5 };
    const samples = device(truth, 0.03);
    samples[3]!.seconds *= 8;
    const { form, factors } = fit(samples, SPREADS);
    expect(form).toBe('parameters');
    for (const [name, value] of Object.entries(truth))
      if (name !== 'run') expect(Math.abs(factors[name as Parameter] / value - 1)).toBeLessThan(0.2);
    const errors = samples.map(({ features: asked, seconds }) =>
      Math.abs(secondsWith(asked, factors) / seconds - 1),
    );
    expect(errors.filter((_, index) => index !== 3).every((error) => error < 0.12)).toBe(true);
  });

  it('follows measurements the more closely the better they agree', () => {
    const distance = (noise: number): number => {
      const { factors } = fit(device({ matrix: 0.3, layer: 3 }, noise), SPREADS);
      return Math.abs(Math.log(factors.matrix / 0.3)) + Math.abs(Math.log(factors.layer / 3));
    };
    expect(distance(0.005)).toBeLessThan(0.1);
    expect(distance(0.005)).toBeLessThan(distance(0.1));
  });

  it('stays with the profile where spreads are small', () => {
    const { factors } = fit(
      device({ matrix: 0.5 }, 0),
      PARAMETERS.map(() => 1e-4),
    );
    const scale = factors.run;
    for (const name of ['matrix', 'vector', 'memory'] as const)
      expect(factors[name] * scale).toBeCloseTo(1, 2);
  });

  it('finds factors by operator from fifty measurements', () => {
    const samples = [0, 1, 2].flatMap(() =>
      device({}, 0.01, { MaxPool: 1, Add: 1, Conv: 1, Resize: 3, LRN: 4 }),
    );
    const { form, factors, kinds } = fit(samples, SPREADS);
    expect(form).toBe('operators');
    expect(kinds.Resize).toBeGreaterThan(1.05);
    expect(Math.abs(kinds.Conv! - 1)).toBeLessThan(0.1);
    const deeplab = samples[NAMES.indexOf('deeplab-v3')]!;
    const distance = (used: Record<string, number>): number =>
      Math.abs(Math.log(secondsWith(deeplab.features, factors, used) / deeplab.seconds));
    expect(distance(kinds)).toBeLessThan(distance({}));
  });

  it('is the same every time', () => {
    const samples = device({ matrix: 0.7 }, 0.1);
    expect(fit(samples, SPREADS)).toEqual(fit(samples, SPREADS));
  });
});

describe('judging', () => {
  it('ranks with ties', () => {
    expect(spearman([1, 2, 3, 4], [10, 20, 30, 40])).toBeCloseTo(1, 12);
    expect(spearman([1, 2, 3, 4], [4, 3, 2, 1])).toBeCloseTo(-1, 12);
    expect(spearman([1, 1, 2, 3], [1, 2, 3, 4])).toBeCloseTo(0.9486832980505138, 12);
  });

  it('takes the distance that a new network stays below with 90 %', () => {
    const measured = Array.from({ length: 19 }, () => 1);
    const predicted = measured.map((_, index) => Math.exp((index + 1) / 100));
    expect(conformalError(predicted, measured, 0.1)).toBeCloseTo(0.18 / 1.645, 12);
    expect(conformalError([Math.exp(0.5)], [1], 0.1)).toBeCloseTo(0.5 / 1.645, 12);
    expect(conformalError([1.001], [1], 0.1)).toBe(0.1);
  });

  it('solves symmetric systems', () => {
    const [x, y] = solveSymmetric(
      [
        [4, 2],
        [2, 3],
      ],
      [10, 8],
    );
    expect(x).toBeCloseTo(1.75, 12);
    expect(y).toBeCloseTo(1.5, 12);
  });
});

describe('dopt target calibrate', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'dopt-calibrate-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const run = (name: string, csv: string, more: Partial<CalibrateOptions> = {}) => {
    const measurements = join(folder, `${name}.csv`);
    writeFileSync(measurements, csv);
    return calibrate({
      target: 'generic-npu',
      measurements,
      models: null,
      precision: null,
      fresh: false,
      out: join(folder, `${name}.yaml`),
      source: null,
      inputShapes: {},
      environment: 'venv',
      signal: new AbortController().signal,
      ...more,
    });
  };
  /** What a device twice as slow as the profile would take. */
  const slow = (names: readonly string[], precision = 'int8', factor = 2): string => {
    const generic = new CostModel(loadTarget('generic-npu'));
    const rows = names.map((name) => {
      const lowered = generic.lower(new Graph(ZOO[name]!()));
      const { seconds } = generic.predict(lowered, { rest: precision as 'int8' });
      return `zoo:${name},${precision},${1000 * factor * seconds}`;
    });
    return `model,dtype,ms\n${rows.join('\n')}\n`;
  };

  it('writes a profile that predicts what was measured, and leaves the rest of the file alone', async () => {
    const names = ['resnet18', 'mobilenet-v2', 'vdsr'];
    const result = await run('one', slow(names), { source: 'a device on the desk' });
    expect(result.precisions[0]).toMatchObject({ precision: 'int8', form: 'scale' });
    expect(result.precisions[0]!.leftOut!.mape).toBeLessThan(0.01);
    const written = readFileSync(result.out, 'utf8');
    expect(written).toContain('calibration: "a device on the desk"');
    const before = readFileSync('targets/generic-npu.yaml', 'utf8').split('\n');
    for (const line of before) expect(written).toContain(line);
    const slower = new CostModel(loadTarget(result.out));
    const faster = new CostModel(loadTarget('generic-npu'));
    const graph = new Graph(ZOO.googlenet!());
    const seconds = (one: CostModel) => one.predict(one.lower(graph), { rest: 'int8' }).seconds;
    expect(seconds(slower) / seconds(faster)).toBeCloseTo(2, 2);
    // Measured again, with other networks: what was learned before is the profile now.
    const again = await run('two', slow(['squeezenet', 'resnet50']), { target: result.out });
    expect(again.precisions[0]!.before.mape).toBeLessThan(0.01);
    expect(readFileSync(again.out, 'utf8').match(/^calibration:/gm)).toHaveLength(1);
  });

  it('refuses a fit that predicts networks left out worse than the profile', async () => {
    const [head, ...rows] = slow(['resnet18', 'mobilenet-v2', 'vdsr', 'squeezenet'], 'int8', 1)
      .trim()
      .split('\n');
    // Every network says something else of the device.
    const torn = rows.map((row, index) => {
      const [name, precision, time] = row.split(',');
      return `${name},${precision},${Number(time) * (index % 2 ? 1.6 : 1 / 1.6)}`;
    });
    await expect(run('torn', [head, ...torn].join('\n'))).rejects.toMatchObject({
      code: 'CALIBRATION_WORSE',
      exitCode: 3,
    });
  });

  it('refuses to overwrite, and models that are not there', async () => {
    writeFileSync(join(folder, 'taken.yaml'), 'mine');
    await expect(run('taken', slow(['vdsr']))).rejects.toMatchObject({ code: 'CALIBRATION_EXISTS' });
    await expect(run('lost', 'model,dtype,ms\nmissing,int8,1\n')).rejects.toMatchObject({
      code: 'MEASUREMENTS_INVALID',
      place: expect.stringMatching(/lost.csv:2$/),
    });
    await expect(run('none', 'model,dtype,ms,use\nzoo:vdsr,int8,1,show\n')).rejects.toMatchObject({
      code: 'MEASUREMENTS_INVALID',
      message: expect.stringContaining('only shown'),
    });
    await expect(run('wide', 'model,dtype,ms\nzoo:vdsr,fp32,1\n')).rejects.toMatchObject({
      code: 'TARGET_PRECISION',
    });
  });
});
