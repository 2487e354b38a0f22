import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentProgress } from '../cli/progress.js';
import { costSchema } from '../config/cost.js';
import { type CostOptions, costOfModel } from './cost.js';
import type { Precision } from './precision.js';
import { ZOO } from './zoo/index.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-cost-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const cost = (model: string, more: Partial<CostOptions> = {}) =>
  costOfModel({
    model,
    targets: ['kirin9000'],
    precisions: null,
    framework: 'auto',
    weights: null,
    className: null,
    trustCode: false,
    inputShapes: {},
    outputs: null,
    environment: 'venv',
    profile: null,
    float16ToFloat32: true,
    progress: silentProgress,
    signal: new AbortController().signal,
    ...more,
  });

const graphFile = (name: string, change: (file: ReturnType<(typeof ZOO)[string]>) => unknown): string => {
  const path = join(folder, `${name}.json`);
  const file = ZOO.resnet18!();
  writeFileSync(path, JSON.stringify(change(file) ?? file));
  return path;
};

describe('the cost of a model', () => {
  it('is that of every target in every precision it has, in the order asked for', async () => {
    const result = await cost('zoo:resnet18', {
      targets: ['kirin9000', 'ethos-u55-128'],
      precisions: ['int8', 'int16', 'fp16'],
    });
    expect(costSchema.parse(result)).toEqual(result);
    expect(result.costs.map(({ target, precision }) => [target, precision])).toEqual([
      ['kirin9000', 'int8'],
      ['kirin9000', 'fp16'],
      ['ethos-u55-128', 'int8'],
      ['ethos-u55-128', 'int16'],
    ]);
    expect(result.model).toMatchObject({ name: 'resnet18', macs: 1814073344 });
    for (const { seconds, interval, layers, run } of result.costs) {
      expect(interval[0]).toBeLessThan(seconds);
      expect(interval[1]).toBeGreaterThan(seconds);
      expect(layers.reduce((sum, layer) => sum + layer.seconds, run) / seconds).toBeCloseTo(1, 12);
      for (const { utilisation } of layers) expect(utilisation ?? 0).toBeLessThanOrEqual(1);
    }
    expect(result.costs[0]!.measured).toBe(17);
    expect(result.costs[2]!.measured).toBe(0);
  });

  it('is read from graph.json, and the same as from the zoo', async () => {
    const path = graphFile('same', () => undefined);
    const [a, b] = [await cost(path), await cost('zoo:resnet18')];
    expect(a.costs).toEqual(b.costs);
    expect(a.model).toMatchObject({ name: 'same', path });
  });

  it('counts operators that dopt does not know as movers, and says so', async () => {
    const path = graphFile('strange', (file) => {
      file.nodes.find(({ op }) => op === 'MaxPool')!.op = 'Mystery';
    });
    const { warnings, costs } = await cost(path);
    expect(warnings).toEqual([expect.stringContaining('does not know the operator Mystery')]);
    expect(costs[0]!.layers.filter(({ guessed }) => guessed)).toMatchObject([
      { unit: 'mover', op: 'Mystery' },
    ]);
  });

  it.for<[string, () => Promise<unknown>, string]>([
    [
      'sizes that are not fixed',
      () =>
        cost(
          graphFile('dynamic', (file) => {
            file.inputs[0]!.shape = ['N', 3, 224, 224];
          }),
        ),
      'COST_DYNAMIC_SHAPE',
    ],
    [
      'a graph without operators',
      () => cost(graphFile('empty', (file) => ({ ...file, nodes: [], outputs: file.inputs, tensors: {} }))),
      'COST_EMPTY',
    ],
    ['a file that is no graph', () => cost(graphFile('broken', () => ({ version: 1 }))), 'GRAPH_BROKEN'],
    ['a network that is not in the zoo', () => cost('zoo:resnet19'), 'ZOO_UNKNOWN'],
    ['a file that is not there', () => cost(join(folder, 'none.onnx')), 'MODEL_NOT_FOUND'],
    ['a target that does not exist', () => cost('zoo:vdsr', { targets: ['kirin'] }), 'TARGET_UNKNOWN'],
    [
      'a precision that no target has',
      () => cost('zoo:vdsr', { precisions: ['fp32' as Precision] }),
      'TARGET_PRECISION',
    ],
  ])('refuses %s', async ([, run, code]) => {
    await expect(run()).rejects.toMatchObject({ code });
  });
});
