import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TinyModel, tinyModel, writeSamples } from '../../test/tiny-model.js';
import { toNumber } from '../config/common.js';
import type { MaterializedSample } from './tensors.js';
import { type VerifyOptions, verifyModels } from './verify.js';

const INPUT = { name: 'x', shape: [1, 3] };
const ROWS = [
  [1, 2, 3],
  [3, 2, 1],
  [-1, 5, 4],
  [0, 0, 1],
];

/** y = x · factor, and the same value once more as an inner tensor. */
const scaled = (factor: number[]): TinyModel => ({
  nodes: [
    { op: 'Mul', inputs: ['x', 'k'], output: 'inner' },
    { op: 'Identity', inputs: ['inner'], output: 'y' },
  ],
  constants: { k: { shape: [1, 3], data: factor } },
  input: INPUT,
  outputs: ['y', 'inner'].map((name) => ({ name, shape: [1, 3] })),
});

let folder: string;
let samples: MaterializedSample[];
let base: VerifyOptions & { float: string; quantized: string };

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dopt-verify-'));
  samples = await writeSamples(folder, INPUT, ROWS);
  base = {
    float: join(folder, 'float.onnx'),
    quantized: join(folder, 'quantized.onnx'),
    samples,
    tensors: null,
    metric: null,
    labels: null,
    preprocess: null,
    optimization: 'disabled',
    threads: 1,
  };
  await writeFile(base.float, tinyModel(scaled([1, 1, 1])));
  // The first class becomes twice as large: the second row keeps its winner, the third and the others keep theirs.
  await writeFile(base.quantized, tinyModel(scaled([2, 1, 1])));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('verifyModels', () => {
  it('adds up the distance at the outputs and names the evaluator', async () => {
    const steps: string[] = [];
    const result = await verifyModels({
      ...base,
      onProgress: (done, total) => steps.push(`${done}/${total}`),
    });
    const output = result.outputs.find(({ name }) => name === 'y')!;
    // Noise is the first column squared: 1 + 9 + 1 + 0; signal the sum of all squares.
    expect(output.similarity.noise).toBe(11);
    expect(output.similarity.signal).toBe(14 + 14 + 42 + 1);
    expect(toNumber(output.similarity.sqnr)).toBeCloseTo(10 * Math.log10(71 / 11), 12);
    expect(output.similarity.maxAbsoluteError).toBe(3);
    expect(output.agreement).toEqual({ over: 'rows', share: 1, count: 4, standardError: null });
    expect(result.evaluator).toMatchObject({
      name: 'onnxruntime-node',
      optimization: 'disabled',
      threads: 1,
    });
    expect(result.evaluator.version).toMatch(/^\d+\.\d+/);
    expect(steps).toEqual(['1/4', '2/4', '3/4', '4/4']);
  });

  it.runIf(existsSync('/proc/self/fd'))('keeps onnxruntime from recording what it is used for', async () => {
    await verifyModels(base);
    const open = readdirSync('/proc/self/fd').map((name) => {
      try {
        return readlinkSync(`/proc/self/fd/${name}`);
      } catch {
        return '';
      }
    });
    expect(open.filter((path) => /onnxruntime\.db|mat-debug/.test(path))).toEqual([]);
  });

  it('finds no difference between a model and itself', async () => {
    const result = await verifyModels({ ...base, quantized: base.float });
    expect(result.outputs[0]!.similarity).toMatchObject({ sqnr: 'Infinity', cosine: 1, noise: 0 });
  });

  it('scores both models against labels', async () => {
    const labels = { kind: 'classification' as const, classes: [2, 0, 1, 0] };
    const metric = { kind: 'classification' as const, topk: [1, 2], output: 'y' };
    const { task } = await verifyModels({ ...base, labels, metric });
    const same = { unit: '%', better: 'higher', standardErrors: null, interval: null };
    expect(task?.scores).toEqual([
      { name: 'top-1', float: 75, quantized: 75, ...same },
      // The last row is [0, 0, 1]: its label 0 comes second, before the equal class 1.
      { name: 'top-2', float: 100, quantized: 100, ...same },
    ]);
  });

  it('compares inner tensors over the first samples only', async () => {
    const tensors = {
      float: base.float,
      quantized: base.quantized,
      pairs: [{ name: 'inner', float: 'inner', quantized: 'y' }],
      samples: 2,
    };
    const result = await verifyModels({ ...base, tensors });
    expect(result.tensorSamples).toBe(2);
    expect(result.tensors).toMatchObject([{ name: 'inner', signal: 28, noise: 10 }]);
  });

  it('compares the ends alone where no inner tensor is quantized', async () => {
    const tensors = { float: base.float, quantized: base.quantized, pairs: [], samples: 2 };
    const result = await verifyModels({ ...base, tensors });
    expect(result).toMatchObject({ tensorSamples: 0, tensors: [], samples: 4 });
  });

  it('names the label that the model has no class for', async () => {
    const labels = { kind: 'classification' as const, classes: [2, 0, 7, 0] };
    const metric = { kind: 'classification' as const, topk: [1] };
    await expect(verifyModels({ ...base, labels, metric })).rejects.toMatchObject({
      kind: 'user',
      code: 'LABEL_RANGE',
      exitCode: 3,
      message: expect.stringContaining('sample-2.png'),
    });
  });

  it('names a model that does not load', async () => {
    await truncate(base.quantized, 20);
    await expect(verifyModels(base)).rejects.toMatchObject({ code: 'MODEL_LOAD', place: base.quantized });
  });

  it('names a sample file that was cut short', async () => {
    const file = samples[1]!.tensors.x!.path;
    await truncate(file, 8);
    await expect(verifyModels(base)).rejects.toMatchObject({ code: 'SAMPLE_FILE', place: file });
  });

  it('says what was fed when onnxruntime refuses a sample', async () => {
    samples[0]!.tensors.x!.shape = [3, 1];
    await expect(verifyModels(base)).rejects.toMatchObject({
      kind: 'external',
      code: 'VERIFY_RUN',
      exitCode: 7,
      found: 'x: float32 [3, 1]',
    });
  });

  it('stops when it is aborted', async () => {
    const many = Array.from({ length: 20_000 }, () => samples[0]!);
    const control = new AbortController();
    const run = verifyModels({
      ...base,
      samples: many,
      signal: control.signal,
      onProgress: () => control.abort(),
    });
    await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED', exitCode: 75 });
  });

  it('refuses to verify without samples', async () => {
    await expect(verifyModels({ ...base, samples: [] })).rejects.toMatchObject({ code: 'VERIFY_NO_SAMPLES' });
  });
});
