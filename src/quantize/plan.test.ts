import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { errorOf, plan, rules } from '../../test/helpers/plan.js';
import { planSchema } from '../config/plan.js';

describe('groups and folds', () => {
  it('a layer takes its batch normalization and activation in', () => {
    const b = new GraphBuilder();
    const y = b.relu(b.batchNorm(b.conv(b.input('x'), { name: 'a' }), 'bn'));
    const result = plan(b.build([b.conv(y, { name: 'z' })]));
    expect(result.folds).toEqual([{ into: 'a', batchNorm: 'bn' }]);
    expect(result.groups[0]).toMatchObject({
      ...{ name: 'a', kind: 'conv', nodes: ['a', 'bn', 'Relu_2'], inputs: ['x'] },
      ...{ output: y, quantized: true, activation: 'Relu' },
    });
    expect(result.activations.map(({ tensor, producer }) => [tensor, producer])).toEqual([
      ['x', null],
      [y, 'a'],
    ]);
    expect(planSchema.parse(result)).toEqual(result);
  });

  it('batch normalization is not folded when another reader wants the layer, or its parameters are computed', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'), { name: 'a' });
    const twice = b.build([b.conv(b.batchNorm(x)), b.conv(x)]);
    expect(plan(twice).folds).toEqual([]);

    const c = new GraphBuilder();
    const parameters = ['scale', 'bias', 'mean', 'var'].map((name) => c.input(name, [4]));
    const y = c.node('BatchNormalization', [c.conv(c.input('x')), ...parameters]);
    expect(plan(c.build([c.conv(y)])).folds).toEqual([]);
  });

  it('batch normalization is not folded into a layer whose bias is computed or no vector', () => {
    const b = new GraphBuilder();
    const gemm = b.node('Gemm', [b.input('x', [8, 4]), b.constant('w', [4, 4]), b.constant('c', [8, 4])]);
    expect(plan(b.build([b.matMul(b.batchNorm(gemm))])).folds).toEqual([]);
  });

  it('without fusion a function of several operators is in pieces, a single one still fuses', () => {
    const b = new GraphBuilder();
    const y = b.relu(b.conv(b.input('x'), { name: 'a' }));
    const z = b.conv(y, { name: 'b' });
    const graph = b.build([b.conv(b.node('Mul', [z, b.node('Sigmoid', [z])]), { name: 'c' })]);
    const shown = (fuse: boolean) =>
      plan(graph, { fuse }).groups.map(({ kind, nodes }) => [kind, nodes.length]);
    expect(shown(true)).toEqual([
      ...[
        ['conv', 2],
        ['conv', 3],
        ['conv', 1],
      ],
    ]);
    expect(shown(false)).toEqual([
      ...[
        ['conv', 2],
        ['conv', 1],
        ['elementwise', 1],
        ['mul', 1],
        ['conv', 1],
      ],
    ]);
  });

  it('batch normalization behind a concatenation is one function with its activation', () => {
    const b = new GraphBuilder();
    const x = b.input('x');
    const y = b.node('PRelu', [
      b.batchNorm(b.node('Concat', [b.conv(x), b.conv(x)], { axis: 1 })),
      b.constant('slope', [8, 1, 1]),
    ]);
    const graph = b.build([b.conv(y)]);
    expect(plan(graph).groups.map(({ kind, activation }) => [kind, activation])).toEqual([
      ...[
        ['conv', null],
        ['conv', null],
        ['concat', null],
        ['activation', 'PRelu'],
        ['conv', null],
      ],
    ]);
    expect(Object.keys(rules(graph))).toEqual(['x', 'conv0:0', 'conv1:0', y]);
  });

  it('a sum takes its activation in and reads both inputs quantized', () => {
    const b = new GraphBuilder();
    const x = b.input('x');
    const left = b.conv(x);
    const y = b.relu(b.node('Add', [left, x]));
    const graph = b.build([b.conv(y)]);
    const both = { x: 'observed', [left]: 'observed', [y]: 'observed' };
    expect(rules(graph, { target: 'hexagon-generic' })).toEqual(both);
    expect(plan(graph).groups[1]).toMatchObject({ kind: 'add', activation: 'Relu' });
  });

  it('the layer that makes a sum stores nothing before it, where the target has such layers', () => {
    const quantized = (make: (b: GraphBuilder) => string, more: (b: GraphBuilder) => string[] = () => []) => {
      const b = new GraphBuilder();
      b.input('x');
      const sum = make(b);
      return Object.keys(rules(b.build([b.conv(sum, { name: 'next' }), ...more(b)])));
    };
    const layer = (b: GraphBuilder, name: string) => b.conv('x', { name });
    const add = (b: GraphBuilder, ...terms: string[]) => b.node('Add', terms, {}, { name: 'sum' });
    expect(quantized((b) => add(b, layer(b, 'l'), 'x'))).toEqual(['x', 'sum:0']);
    // Of two layers the later one; not a layer behind an activation, nor one that is read elsewhere.
    expect(quantized((b) => add(b, layer(b, 'l'), layer(b, 'r')))).toEqual(['x', 'l:0', 'sum:0']);
    expect(quantized((b) => add(b, b.relu(layer(b, 'l')), 'x'))).toHaveLength(3);
    expect(
      quantized(
        (b) => add(b, layer(b, 'l'), 'x'),
        (b) => [b.conv('l:0', { name: 'other' })],
      ),
    ).toEqual(['x', 'l:0', 'sum:0']);
  });

  it('each node is in one group, in order', () => {
    const b = new GraphBuilder();
    const x = b.layerNorm(b.input('x', [1, 16, 64]));
    const graph = b.build([b.matMul(x)]);
    expect(plan(graph).groups.flatMap((group) => group.nodes)).toEqual(graph.nodes.map((node) => node.name));
  });
});

describe('detectors', () => {
  it('the expectation over bins has no quantized weight, nor its input a quantizer', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'), { name: 'head' });
    const bins = Array.from({ length: 16 }, (_, i) => i);
    const softmax = b.node('Softmax', [b.node('Reshape', [x, b.integers(1, 16, 4, -1)])], { axis: 1 });
    const sides = b.node('Conv', [softmax, b.constant('dfl', [1, 16, 1, 1], bins)]);
    const graph = b.build([b.node('Mul', [sides, b.scalar(8)])]);
    expect(rules(graph)).toEqual({ x: 'observed' });
    expect(plan(graph).weights.map(({ node }) => node)).toEqual(['head']);
    expect(plan(graph).floatNodes.map(({ op }) => op)).toEqual(['Reshape', 'Softmax', 'Conv', 'Mul']);
  });
});

describe('attention', () => {
  /** Pre-normalized attention with a mask, and a residual sum that only the next normalization reads. */
  function attention() {
    const b = new GraphBuilder();
    const x = b.input('x', [1, 16, 64]);
    const normal = b.layerNorm(x);
    const [q, k, v] = ['q', 'k', 'v'].map((name) => b.matMul(normal, name)) as [string, string, string];
    const kt = b.node('Transpose', [k], { perm: [0, 2, 1] }, { name: 'kt' });
    const scores = b.node('Div', [b.node('MatMul', [q, kt], {}, { name: 'qk' }), b.scalar(8)]);
    const masked = b.node('Add', [scores, b.input('mask', [1, 1, 16])], {}, { name: 'masked' });
    const weights = b.node('Softmax', [masked], { axis: -1 });
    const sum = b.node('Add', [b.matMul(b.node('MatMul', [weights, v], {}, { name: 'av' }), 'o'), x]);
    const graph = b.build([b.matMul(b.layerNorm(sum), 'out')]);
    return { graph, normal, q, k, v, weights, sum };
  }

  it('products of two activations read both quantized', () => {
    const { graph, normal, q, k, v, weights } = attention();
    expect(rules(graph)).toMatchObject({
      ...{ [normal]: 'observed', [q]: 'observed', [k]: 'observed', [v]: 'observed' },
      ...{ 'kt:0': k, [weights]: '0..1', 'av:0': 'observed' },
    });
    expect(plan(graph).weights.map(({ node }) => node)).toEqual(['q', 'k', 'v', 'o', 'out']);
  });

  it('masks, normalizations and sums that only these read are computed in float', () => {
    const { graph, sum } = attention();
    const tensors = Object.keys(rules(graph));
    for (const tensor of ['x', 'mask', 'qk:0', 'masked:0', 'o:0', sum]) expect(tensors).not.toContain(tensor);
    expect(
      plan(graph)
        .groups.filter(({ quantized }) => !quantized)
        .map(({ kind, activation }) => activation ?? kind),
    ).toEqual([...['LayerNormalization', 'add', 'normalization', 'add', 'LayerNormalization']]);
  });
});

describe('targets', () => {
  it('with layers in integers alone only what layers read is quantized', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const sum = b.node('Add', [b.conv(x), b.node('MaxPool', [x])]);
    const pooled = b.node('MaxPool', [sum]);
    const graph = b.build([b.conv(pooled)]);
    expect(rules(graph, { target: 'kirin9020' })).toEqual({
      ...{ x: 'observed', [x]: 'observed', [pooled]: 'observed' },
    });
    const sums = plan(graph, { target: 'kirin9020' }).floatNodes.filter(({ op }) => op === 'Add');
    expect(sums[0]?.reason).toContain('kirin9020');
  });

  it('inputs of depthwise convolutions alone may have a scale a channel', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const y = b.conv(x, { group: 4 });
    const graph = b.build([b.conv(y)]);
    expect(plan(graph).activations.map(({ tensor, channelAxis }) => [tensor, channelAxis])).toEqual([
      ...[
        ['x', null],
        [x, 1],
        [y, null],
      ],
    ]);
  });
});

it('a target that dopt does not know is an error', () => {
  const b = new GraphBuilder();
  const graph = b.build([b.conv(b.input('x'))]);
  expect(errorOf(() => plan(graph, { target: 'kirin902' })).code).toBe('TARGET_UNKNOWN');
});
