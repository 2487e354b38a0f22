import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { errorOf } from '../../test/helpers/plan.js';
import { Graph } from '../graph/graph.js';
import type { Kernel } from './kernel.js';
import { type LoweringRules, lowerGraph } from './lower.js';
import { NetworkBuilder } from './zoo/builder.js';

const RULES: LoweringRules = {
  fusedFunctions: new Set(['Relu', 'Relu6']),
  fusesSums: true,
  freeConcat: 16,
  host: new Set(['TopK']),
  fillsStrides: false,
  passes: {},
};

const lowered = (
  net: NetworkBuilder,
  outputs: Parameters<NetworkBuilder['finish']>,
  rules: Partial<LoweringRules> = {},
) => lowerGraph(new Graph(net.finish(...outputs)), { ...RULES, ...rules });

const listed = (kernels: readonly Kernel[]): string[] => kernels.map(({ op, unit }) => `${op}:${unit}`);

describe('lowering', () => {
  it('makes one kernel of a layer and a function that the device fuses, two where it does not', () => {
    const net = new NetworkBuilder('n', [1, 16, 8, 8]);
    const end = net.conv(net.conv(net.input, 32, 3), 16, 1, { activation: 'SiLU' });
    const { kernels } = lowered(net, [end]);
    expect(listed(kernels)).toEqual(['Conv:matrix', 'Conv:matrix', 'SiLU:vector']);
    expect(kernels[0]).toMatchObject({
      nodes: ['conv_1', 'relu_1'],
      product: { m: 64, k: 16, n: 32, taps: 9, groups: 1 },
      weights: 16 * 32 * 9 + 32,
    });
    expect(kernels[2]!.reads).toEqual(kernels[1]!.writes);
    const fused = lowered(net, [end], { fusedFunctions: new Set(['Relu', 'SiLU']) });
    expect(listed(fused.kernels)).toEqual(['Conv:matrix', 'Conv:matrix']);
  });

  it('lets the later layer compute a sum, unless something else reads that layer', () => {
    const net = new NetworkBuilder('n', [1, 16, 8, 8]);
    const a = net.conv(net.input, 16, 3);
    const b = net.conv(a, 16, 3, { activation: null });
    const { kernels } = lowered(net, [net.sum(b, a, 'Relu')]);
    expect(listed(kernels)).toEqual(['Conv:matrix', 'Conv:matrix']);
    expect(kernels[1]).toMatchObject({
      nodes: ['conv_2', 'add_1', 'relu_2'],
      reads: [a.name, a.name],
      writes: ['relu_2.out'],
    });
    expect(listed(lowered(net, [net.sum(b, a)], { fusesSums: false }).kernels)).toContain('Add:vector');
    expect(listed(lowered(net, [net.sum(b, a), b]).kernels)).toContain('Add:vector');
  });

  it('knows depthwise, transposed and grouped convolutions, and fully connected layers', () => {
    const net = new NetworkBuilder('n', [1, 16, 8, 8]);
    const wide = net.conv(net.depthwise(net.input, 3, { stride: 2 }), 32, 1, { groups: 2 });
    const large = net.deconv(wide, 8, 4, 2, { padding: 1 });
    const { kernels } = lowered(net, [net.linear(large, 10)]);
    expect(kernels.map(({ unit, product }) => [unit, product])).toEqual([
      ['depthwise', { m: 16, k: 1, n: 1, taps: 9, groups: 16 }],
      ['matrix', { m: 16, k: 8, n: 16, taps: 1, groups: 2 }],
      ['matrix', { m: 64, k: 32, n: 8, taps: 4, groups: 1 }],
      ['free', null],
      ['matrix', { m: 1, k: 512, n: 10, taps: 1, groups: 1 }],
    ]);
    // Where the input is spread with zeros every tap is multiplied with.
    const filled = lowered(net, [large], { fillsStrides: true }).kernels;
    expect(filled[2]!.product).toEqual({ m: 64, k: 32, n: 8, taps: 16, groups: 1 });
  });

  it('joins whole blocks of channels without a copy, others with one', () => {
    const joined = (channels: number): string[] => {
      const net = new NetworkBuilder('n', [1, 16, 8, 8]);
      return listed(lowered(net, [net.concat([net.input, net.conv(net.input, channels, 1)])]).kernels);
    };
    expect(joined(32).at(-1)).toBe('Concat:free');
    expect(joined(24).at(-1)).toBe('Concat:mover');
  });

  it('takes products of activations apart by the matrices of a stack', () => {
    const b = new GraphBuilder();
    const [q, k] = [b.input('q', [2, 4, 10, 16]), b.input('k', [2, 4, 16, 12])];
    const out = b.node('MatMul', [q, k], {}, { shape: [2, 4, 10, 12] });
    expect(lowerGraph(b.build([out]), RULES).kernels[0]).toMatchObject({
      unit: 'matrix',
      weights: 0,
      product: { m: 10, k: 16, n: 12, taps: 1, groups: 8 },
    });
  });

  it('guesses at operators that it does not know, sends others to the host, and drops what computes shapes', () => {
    const b = new GraphBuilder();
    const x = b.input('x', [1, 4, 8, 8]);
    const size = b.node('Shape', [x], {}, { dtype: 'int64', shape: [4] });
    const mystery = b.node('Mystery', [x], {}, { domain: 'com.example', shape: [1, 4, 8, 8] });
    const top = b.split('TopK', [mystery], 2, {}, { shape: [1, 4, 8, 2] });
    const same = b.node('Reshape', [top[0]!, size], {}, { shape: [1, 4, 8, 2] });
    const { kernels } = lowerGraph(b.build([same, top[1]!]), RULES);
    expect(kernels.map(({ op, unit, guessed }) => [op, unit, guessed])).toEqual([
      ['Mystery', 'mover', true],
      ['TopK', 'host', false],
      ['Reshape', 'free', false],
    ]);
  });

  it('asks for the sizes of inputs that are not fixed', () => {
    const b = new GraphBuilder();
    const x = b.input('pixels', [1, 3, 8, 8]);
    b.file([]).inputs[0]!.shape = ['N', 3, null, 8];
    const error = errorOf(() => lowerGraph(b.build([b.relu(x)]), RULES));
    expect(error.code).toBe('COST_DYNAMIC_SHAPE');
    expect(error.suggestions[0]).toContain('--input-shape "pixels:1,3,1,8"');
  });
});
