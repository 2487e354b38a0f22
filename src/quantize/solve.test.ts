import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import type { ActivationPlan, Plan } from '../config/plan.js';
import { loadNative } from '../native/index.js';
import { qdqRewrite } from './apply.js';
import type { Layer } from './layers.js';
import { quantParamsFile } from './params.js';
import { unrefined } from './refine.js';
import type { Observed } from './solution.js';
import { solveActivations, solveLayers } from './solve.js';

const core = loadNative();
const UINT8 = { bits: 8 as const, signed: false, symmetric: false };

/** What calibration would have seen of these values. */
function observed(tensor: string, values: number[]): [string, Observed] {
  const histogram = core.histogram(2048);
  core.histogramUpdate(histogram, Float32Array.from(values));
  const { bins, base, width, counts: _, ...statistics } = histogram;
  return [tensor, { histogram, statistics: { tensor, ...statistics, histogram: { base, width, bins } } }];
}

const activation = (tensor: string, more: Partial<ActivationPlan> = {}): ActivationPlan => ({
  tensor,
  format: UINT8,
  range: { kind: 'observed' },
  producer: 'node',
  channelAxis: null,
  ...more,
});

const plan = (activations: ActivationPlan[], more: Partial<Plan> = {}): Plan => ({
  version: 1,
  strategy: 'int8-8',
  target: 'generic-npu',
  storage: 'integer',
  folds: [],
  groups: [],
  activations,
  weights: [],
  concats: [],
  floatNodes: [],
  ...more,
});

const ramp = (low: number, high: number, count = 4000): number[] =>
  Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));

const INT16 = { bits: 16 as const, signed: true, symmetric: true };

describe('int16 activations', () => {
  const wide = plan(
    [activation('a', { format: INT16 }), activation('x', { format: INT16, producer: null })],
    {
      strategy: 'int16-8',
    },
  );
  const seen = new Map([observed('a', ramp(-1, 3)), observed('x', ramp(0, 2))]);

  it('keep twice the range that calibration saw, but a graph input has just its own', () => {
    const { activations, candidates } = solveActivations(core, wide, seen, new Map(), 'auto');
    expect(activations.get('a')).toMatchObject({
      low: -2,
      high: 6,
      zeroPoint: 0,
      rule: 'minmax with headroom',
    });
    expect(activations.get('a')!.scale).toBeCloseTo(6 / 32767, 8);
    expect(activations.get('x')).toMatchObject({ low: 0, high: 2, zeroPoint: 0 });
    expect(candidates.size).toBe(0);
  });

  it('are written as operators that onnxruntime has, and left out where bias shifts are measured', () => {
    const { activations } = solveActivations(core, wide, seen, new Map(), 'auto');
    const graph = new GraphBuilder().build([]);
    const { rewrite, parameters } = qdqRewrite(graph.file, wide, [], new Map(), activations, 'int32');
    expect(rewrite.addNodes.map(({ op, domain }) => `${domain} ${op}`)).toEqual([
      ...['com.microsoft QuantizeLinear', 'com.microsoft DequantizeLinear'],
      ...['com.microsoft QuantizeLinear', 'com.microsoft DequantizeLinear'],
    ]);
    expect(parameters.get('a/zero_point')!.data).toBeInstanceOf(Int16Array);
    expect(qdqRewrite(graph.file, wide, [], new Map(), activations, 'float32').rewrite.addNodes).toEqual([]);
  });
});

describe('widths in one plan', () => {
  it('are each their own, and no concatenation ties tensors of unlike ones', () => {
    const group = { name: 'cat', kind: 'concat', nodes: ['cat'], inputs: ['a', 'b'], output: 'c' };
    const mixed = plan([activation('a', { format: INT16 }), activation('b'), activation('c')], {
      groups: [{ ...group, quantized: true, activation: null }],
      concats: [{ node: 'cat', inputs: ['a', 'b'], output: 'c' }],
    });
    const seen = new Map([observed('a', ramp(0, 2)), observed('b', ramp(0, 2)), observed('c', ramp(0, 2))]);
    const { activations, concats } = solveActivations(core, mixed, seen, new Map(), 'minmax');
    expect(concats).toEqual([{ node: 'cat', tied: false, reason: 'they are of unlike widths' }]);
    expect(activations.get('a')).toMatchObject({ format: INT16, zeroPoint: 0 });
    expect(activations.get('a')!.scale).toBeCloseTo(2 / 32767, 9);
    expect(activations.get('b')!.scale).toBeCloseTo(2 / 255, 7);
    const same = plan([activation('a'), activation('b'), activation('c')], {
      groups: mixed.groups,
      concats: mixed.concats,
    });
    expect(solveActivations(core, same, seen, new Map(), 'minmax').concats[0]!.tied).toBe(true);
  });
});

describe('solveActivations', () => {
  it('takes the observed extremes with minmax, zero exact', () => {
    const { activations } = solveActivations(
      core,
      plan([activation('a')]),
      new Map([observed('a', ramp(-1, 3))]),
      new Map(),
      'minmax',
    );
    const { scale, zeroPoint } = activations.get('a')!;
    expect(scale).toBeCloseTo(4 / 255, 6);
    expect(zeroPoint).toBe(64);
  });

  it('clips a lone outlier with mse and keeps it with minmax', () => {
    // One value of 4 among a million below 1: cutting it off costs less than the coarser grid that keeps it.
    const seen = new Map([observed('a', [...ramp(0, 1, 1e6), 4])]);
    const high = (method: 'mse' | 'minmax'): number =>
      solveActivations(core, plan([activation('a')]), seen, new Map(), method).activations.get('a')!.high;
    expect(high('minmax')).toBe(4);
    expect(high('mse')).toBeLessThan(3);
  });

  it('offers several ranges for a comparison with auto, but a graph input keeps its whole range', () => {
    const seen = new Map([observed('a', [...ramp(0, 1), 40]), observed('x', [...ramp(0, 1), 40])]);
    const both = plan([activation('x', { producer: null }), activation('a')]);
    const { activations, candidates } = solveActivations(core, both, seen, new Map(), 'auto');
    expect(candidates.get('a')!.length).toBeGreaterThan(2);
    expect(candidates.has('x')).toBe(false);
    expect(activations.get('x')!.high).toBe(40);
  });

  it('gives shared tensors the parameters of the tensor they come from, through any number of steps', () => {
    const chain = plan([
      activation('a'),
      activation('b', { range: { kind: 'shared', with: 'a' } }),
      activation('c', { range: { kind: 'shared', with: 'b' } }),
    ]);
    const { activations } = solveActivations(
      core,
      chain,
      new Map([observed('a', ramp(0, 2))]),
      new Map(),
      'mse',
    );
    const { scale, zeroPoint } = activations.get('a')!;
    expect(activations.get('c')).toMatchObject({ scale, zeroPoint, root: 'a', rule: 'shared with a' });
  });

  it('uses fixed ranges where values fill half of them', () => {
    const fixed = activation('a', {
      range: { kind: 'fixed', low: 0, high: 1, because: 'result of Sigmoid' },
    });
    const solvedFor = (low: number, high: number) => {
      const seen = new Map([observed('a', ramp(low, high))]);
      return solveActivations(core, plan([fixed]), seen, new Map(), 'auto').activations.get('a')!;
    };
    expect(solvedFor(0.4, 0.6)).toMatchObject({ low: 0, high: 1, rule: 'fixed' });
    expect(solvedFor(0.4, 0.6).scale).toBeCloseTo(1 / 255, 7);
    expect(solvedFor(0, 0).rule).toBe('fixed');
    const low = solvedFor(0.001, 0.0014);
    expect(low.high).toBeLessThan(0.0015);
    expect(low.rule).not.toBe('fixed');
  });

  it('ties the members of a concat of like ranges and leaves unlike ones that are read elsewhere alone', () => {
    const group = (name: string, inputs: string[], output: string) => ({
      name,
      kind: 'concat',
      nodes: [name],
      inputs,
      output,
      quantized: true,
      activation: null,
    });
    const make = (high: number, ties: 'by loss' | 'always' = 'by loss') => {
      const seen = new Map([
        observed('a', ramp(0, 1)),
        observed('b', ramp(0, high)),
        observed('y', ramp(0, high)),
      ]);
      const concat = plan([activation('a'), activation('b'), activation('y')], {
        groups: [group('concat', ['a', 'b'], 'y'), { ...group('conv', ['a'], 'z'), kind: 'conv' }],
        concats: [{ node: 'concat', inputs: ['a', 'b'], output: 'y' }],
      });
      return solveActivations(core, concat, seen, new Map(), 'minmax', ties);
    };
    const like = make(1.1);
    expect(like.concats[0]!.tied).toBe(true);
    expect(like.activations.get('b')!.scale).toBe(like.activations.get('y')!.scale);
    const unlike = make(640);
    expect(unlike.concats[0]!.tied).toBe(false);
    expect(unlike.activations.get('a')!.scale).toBeCloseTo(1 / 255, 6);
    expect(make(640, 'always').activations.get('a')!.scale).toBeCloseTo(640 / 255, 4);
  });

  it('splits channels only where one grid drowns them and every reader is depthwise', () => {
    const statistics = (widths: number[]) => ({
      min: Float64Array.from(widths, () => 0),
      max: Float64Array.from(widths),
      meanSquare: Float64Array.from(widths, (width) => width ** 2 / 3),
      mean: Float64Array.from(widths, (width) => width / 2),
    });
    const solve = (widths: number[], channelAxis: number | null, format: ActivationPlan['format'] = UINT8) =>
      solveActivations(
        core,
        plan([activation('a', { channelAxis, format })]),
        new Map([observed('a', ramp(0, Math.max(...widths)))]),
        new Map([['a', statistics(widths)]]),
        'minmax',
      ).activations.get('a')!.channels;
    expect(solve([128, 0.5, 0.5, 0.5], 1)?.parameters.map(({ scale }) => scale)).toEqual(
      [128, 0.5, 0.5, 0.5].map((width) => Math.fround(width / 255)),
    );
    expect(solve([128, 0.5, 0.5, 0.5], null)).toBeNull();
    expect(solve([2, 1, 1.5, 1], 1)).toBeNull();
    // 16 bits hold more, but a channel a thousand times smaller than another has as little of them, and no headroom.
    expect(solve([128, 0.1, 0.1, 0.1], 1, INT16)?.parameters.map(({ scale }) => scale)).toEqual(
      [128, 0.1, 0.1, 0.1].map((width) => Math.fround((2 * width) / 32767)),
    );
    expect(solve([128, 4, 4, 4], 1, INT16)).toBeNull();
  });
});

describe('layers', () => {
  const layer: Layer = {
    name: 'conv',
    input: 'a',
    weight: Float32Array.of(1, -0.5, 0.25, 0.125),
    weightIndex: 1,
    shape: [2, 2, 1, 1],
    plan: {
      tensor: 'w',
      node: 'conv',
      format: { bits: 8, signed: true, symmetric: true },
      axis: 0,
      groups: 1,
    },
    bias: { values: Float32Array.of(0.5, -1), node: 'conv', index: 2 },
    attributes: null,
    batchNorm: null,
    output: 'y',
    outputAxis: 1,
    exactSums: false,
  };
  const solution = solveActivations(
    core,
    plan([activation('a')]),
    new Map([observed('a', ramp(0, 2.55))]),
    new Map(),
    'minmax',
  );

  it('rounds weights a channel at a time and biases at the product of the scales', () => {
    const solved = solveLayers(core, [layer], unrefined(solution)).get('conv')!;
    expect([...solved.integers]).toEqual([127, -64, 127, 64]);
    const { integers, scales } = solved.quantizedBias!;
    expect(scales[0]).toBeCloseTo(0.01 * (1 / 127), 8);
    expect(integers[0]! * scales[0]!).toBeCloseTo(0.5, 4);
  });

  it('adds bias shifts before rounding', () => {
    const shifts = new Map([['conv', Float32Array.of(0.25, 0)]]);
    const solved = solveLayers(core, [layer], { ...unrefined(solution), shifts }).get('conv')!;
    expect([...solved.bias!]).toEqual([0.75, -1]);
  });

  it('rounds solved weights on the grid of the weights they stand for', () => {
    const { scales } = solveLayers(core, [layer], unrefined(solution)).get('conv')!;
    const grid = [scales[0], scales[0], scales[1], scales[1]];
    const weights = new Map([['conv', Float32Array.of(3, -5, 7, 127).map((q, i) => q * grid[i]!)]]);
    const solved = solveLayers(core, [layer], { ...unrefined(solution), weights }).get('conv')!;
    expect([...solved.integers]).toEqual([3, -5, 7, 127]);
    expect(solved.scales).toEqual(scales);
  });

  it('keeps a float bias where the input has no quantizer', () => {
    const solved = solveLayers(core, [layer], { ...unrefined(solution), activations: new Map() }).get(
      'conv',
    )!;
    expect(solved.quantizedBias).toBeNull();
  });

  it('lets float operators read the value before rounding where tensors are stored as float16', () => {
    const node = (name: string, op: string, inputs: string[], output: string) =>
      ({ name, op, domain: '', inputs, outputs: [output], attributes: {} }) as const;
    const nodes = [node('conv', 'Conv', ['a', 'w', 'b'], 'y'), node('add', 'Add', ['y', 'a'], 'z')].map(
      (n) => ({ ...n, inputs: [...n.inputs], outputs: [...n.outputs] }),
    );
    const graph = {
      version: 1 as const,
      name: 'g',
      irVersion: 8,
      opset: { '': 13 },
      inputs: [],
      outputs: [],
      initializers: [],
      nodes,
      tensors: {},
    };
    const groups = [
      {
        name: 'conv',
        kind: 'conv',
        nodes: ['conv'],
        inputs: ['a'],
        output: 'y',
        quantized: true,
        activation: null,
      },
      {
        name: 'add',
        kind: 'add',
        nodes: ['add'],
        inputs: ['y', 'a'],
        output: 'z',
        quantized: false,
        activation: null,
      },
    ];
    const readers = (storage: Plan['storage']): string[] => {
      const chosen = plan([activation('a')], { storage, groups, weights: [layer.plan] });
      const solved = solveLayers(core, [layer], unrefined(solution));
      const { rewrite, parameters } = qdqRewrite(
        graph,
        chosen,
        [layer],
        solved,
        solution.activations,
        'int32',
      );
      expect(parameters.get('a/zero_point')!.data).toBeInstanceOf(Uint8Array);
      expect(parameters.get('conv/bias/quantized')!.data).toBeInstanceOf(Int32Array);
      return rewrite.inputs.filter(({ tensor }) => tensor === 'a/dequantized').map(({ node: name }) => name);
    };
    expect(readers('float16')).toEqual(['conv']);
    expect(readers('integer')).toEqual(['conv', 'add']);
  });

  it('writes every parameter into the open file', () => {
    const chosen = plan([activation('a')], { weights: [layer.plan] });
    const solved = solveLayers(core, [layer], unrefined(solution));
    const { tensors } = quantParamsFile('net', chosen, [layer], solved, solution.activations);
    expect(tensors.map(({ name, kind, bits, granularity }) => [name, kind, bits, granularity])).toEqual([
      ['a', 'activation', 8, 'tensor'],
      ['w', 'weight', 8, 'channel'],
      ['conv/bias', 'bias', 32, 'channel'],
    ]);
  });
});
