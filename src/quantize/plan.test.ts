import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { planSchema } from '../config/plan.js';
import { UserError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { type PlanOptions, planQuantization } from './plan.js';

const plan = (graph: Graph, options: Partial<PlanOptions> = {}) =>
  planQuantization(graph, {
    strategy: 'int8-8',
    target: 'generic-npu',
    exclude: [],
    strict: false,
    ...options,
  });

/** Rule of each quantized tensor: what it shares with, the bounds it has, or 'observed'. */
const rules = (graph: Graph, options: Partial<PlanOptions> = {}): Record<string, string> =>
  Object.fromEntries(
    plan(graph, options).activations.map(({ tensor, range }) => {
      if (range.kind === 'shared') return [tensor, range.with];
      return [tensor, range.kind === 'fixed' ? `${range.low}..${range.high}` : range.kind];
    }),
  );

const floatOps = (graph: Graph, options: Partial<PlanOptions> = {}): string[] =>
  plan(graph, options).floatNodes.map(({ op, cause }) => `${cause}:${op}`);

const errorOf = (run: () => unknown): UserError => {
  try {
    run();
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

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
    expect(rules(graph)).toEqual({ x: 'observed', [left]: 'observed', [y]: 'observed' });
    expect(plan(graph).groups[1]).toMatchObject({ kind: 'add', activation: 'Relu' });
  });

  it('each node is in one group, in order', () => {
    const b = new GraphBuilder();
    const x = b.layerNorm(b.input('x', [1, 16, 64]));
    const graph = b.build([b.matMul(x)]);
    expect(plan(graph).groups.flatMap((group) => group.nodes)).toEqual(graph.nodes.map((node) => node.name));
  });
});

describe('quantizers', () => {
  it('the result of the last layer and what follows it has none', () => {
    const b = new GraphBuilder();
    const graph = b.build([
      b.node('Softmax', [b.node('Reshape', [b.conv(b.input('x')), b.integers(1, -1)])]),
    ]);
    expect(rules(graph)).toEqual({ x: 'observed' });
    expect(floatOps(graph)).toEqual(['postprocessing:Reshape', 'postprocessing:Softmax']);
  });

  it('operators that move values share parameters, each result of a split too', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const pooled = b.node('MaxPool', [x]);
    const [left, right] = b.split('Split', [pooled], 2) as [string, string];
    const graph = b.build([b.conv(left), b.conv(right)]);
    expect(rules(graph)).toEqual({
      ...{ x: 'observed', [x]: 'observed' },
      ...{ [pooled]: x, [left]: pooled, [right]: pooled },
    });
    const producers = plan(graph).activations.map(({ producer }) => producer);
    expect(producers).toEqual([null, 'conv0', 'MaxPool_1', 'Split_2', 'Split_2']);
  });

  it.each([
    ['zero', {}, [0], 'shared'],
    ['another constant', {}, [1], 'observed'],
    ['copies', { mode: 'edge' }, undefined, 'shared'],
  ] as const)('padding with %s', (_, attributes, value, kind) => {
    const b = new GraphBuilder();
    const inputs = [b.conv(b.input('x')), b.integers(0, 0, 1, 1, 0, 0, 1, 1)];
    if (value) inputs.push(b.constant('fill', [], [...value]));
    const padded = b.node('Pad', inputs, attributes);
    const { activations } = plan(b.build([b.conv(padded)]));
    expect(activations.find(({ tensor }) => tensor === padded)?.range.kind).toBe(kind);
  });

  it('padding below everything moves values together with the MaxPool behind it', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const padded = b.node('Pad', [x, b.integers(0, 0, 1, 1, 0, 0, 1, 1), b.scalar(Number.NEGATIVE_INFINITY)]);
    const pooled = b.node('MaxPool', [padded]);
    expect(rules(b.build([b.conv(pooled)]))).toEqual({ x: 'observed', [x]: 'observed', [pooled]: x });
  });

  it('resizing shares when it takes the nearest neighbour and interpolates otherwise', () => {
    const resized = (mode: string) => {
      const b = new GraphBuilder();
      const x = b.conv(b.input('x'));
      return rules(
        b.build([b.conv(b.node('Resize', [x, '', b.constant('s', [4])], { mode }, { name: 'r' }))]),
      );
    };
    expect(resized('nearest')['r:0']).toBe('conv0:0');
    expect(resized('linear')).toEqual({ x: 'observed', 'conv0:0': 'observed', 'r:0': 'observed' });
  });

  it('bounded functions have fixed ranges, also written out', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const gate = b.node('Sigmoid', [b.conv(b.node('GlobalAveragePool', [x]))]);
    const spelled = b.node('Reciprocal', [
      b.node('Add', [b.node('Exp', [b.node('Neg', [b.conv(x)])]), b.scalar(1)]),
    ]);
    const tanh = b.node('Tanh', [b.conv(x)]);
    const graph = b.build([b.conv(b.node('Mul', [x, gate])), b.conv(spelled), b.conv(tanh)]);
    expect(rules(graph)).toMatchObject({ [gate]: '0..1', [spelled]: '0..1', [tanh]: '-1..1' });
  });

  it('a gain behind a bounded function moves its bounds', () => {
    const b = new GraphBuilder();
    const y = b.node('Mul', [b.node('Sigmoid', [b.conv(b.input('x'))]), b.scalar(2)]);
    expect(rules(b.build([b.conv(y)]))[y]).toBe('observed');
  });

  it('a Relu that stands alone is on the grid of its input where tensors are stored as integers', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const y = b.relu(x);
    const graph = b.build([b.conv(y), b.conv(x)]);
    expect(rules(graph)[y]).toBe(x);
    expect(rules(graph, { target: 'kirin9020' })[y]).toBe('observed');
  });

  it('a concatenation has a grid of its own, listed for tying', () => {
    const b = new GraphBuilder();
    const parts = [b.conv(b.input('x')), b.conv(b.input('y'))];
    const y = b.node('Concat', parts, { axis: 1 }, { name: 'join' });
    const graph = b.build([b.conv(y)]);
    expect(rules(graph)[y]).toBe('observed');
    expect(plan(graph).concats).toEqual([{ node: 'join', inputs: parts, output: y }]);
  });

  it('a concatenation of parts of one tensor moves its values', () => {
    const b = new GraphBuilder();
    const slices = [0, 1].map((start) => b.node('Slice', ['x', b.integers(start), b.integers(8)]));
    b.input('x');
    const y = b.node('Concat', slices, { axis: 1 });
    const graph = b.build([b.conv(y)]);
    expect(rules(graph)).toEqual({ x: 'observed', [slices[0]!]: 'x', [slices[1]!]: 'x', [y]: slices[0] });
    expect(plan(graph).concats).toEqual([]);
  });

  it('a computed bias stays float', () => {
    const b = new GraphBuilder();
    const bias = b.relu(b.input('bias', [4]));
    const y = b.node('Conv', [b.input('x'), b.constant('w', [4, 4, 3, 3]), bias]);
    expect(rules(b.build([y]))).toEqual({ x: 'observed' });
  });

  it('sizes computed from shapes are no values', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const sizes = b.node('Shape', [b.input('like')], {}, { dtype: 'int64' });
    const y = b.node('Resize', [x, '', '', sizes], { mode: 'linear' });
    const graph = b.build([b.conv(y)]);
    expect(Object.keys(rules(graph))).toEqual(['x', x, y]);
    expect(floatOps(graph)).toEqual(['shape:Shape']);
  });

  it('results of graphs that carry float64 or integers are never quantized', () => {
    const b = new GraphBuilder();
    const x = b.input('x', [1, 4, 8, 8], 'float64');
    const y = b.node(
      'Conv',
      [x, b.constant('w', [4, 4, 3, 3], undefined, 'float64')],
      {},
      { dtype: 'float64' },
    );
    expect(plan(b.build([y]))).toMatchObject({ activations: [], weights: [] });
  });

  it('tensors that subgraphs read keep their names, and quantizers for their other readers', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'), { name: 'a' });
    const branch = b.node('If', [b.input('condition', [1], 'bool')], {}, { captures: [x], name: 'if' });
    const graph = b.build([b.conv(b.node('Add', [b.conv(x), branch]))]);
    expect(rules(graph)[x]).toBe('observed');
    expect(plan(graph).activations.find(({ tensor }) => tensor === x)?.channelAxis).toBeNull();
    expect(floatOps(graph)).toEqual(['unsupported:If']);
  });

  it('int16-8 has signed symmetric activations of 16 bits and the same weights', () => {
    const b = new GraphBuilder();
    const graph = b.build([b.conv(b.input('x'))]);
    const wide = plan(graph, { strategy: 'int16-8' });
    expect(wide.activations[0]!.format).toEqual({ bits: 16, signed: true, symmetric: true });
    expect(plan(graph).activations[0]!.format).toEqual({ bits: 8, signed: false, symmetric: false });
    expect(wide.weights).toEqual(plan(graph).weights);
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

describe('weights', () => {
  const axisOf = (graph: Graph, target = 'generic-npu') =>
    plan(graph, { target }).weights.map(({ axis }) => axis);

  it('has one scale an output channel, by the layout of the operator', () => {
    const b = new GraphBuilder();
    const x = b.input('x');
    const up = b.node('ConvTranspose', [b.conv(x), b.constant('t', [4, 2, 3, 3])], { group: 2 });
    const flat = b.node('Flatten', [up]);
    const g0 = b.node('Gemm', [flat, b.constant('g0', [256, 4])]);
    const g1 = b.node('Gemm', [g0, b.constant('g1', [4, 4])], { transB: 1 });
    const graph = b.build([b.matMul(g1)]);
    expect(axisOf(graph)).toEqual([0, 1, 1, 0, 1]);
    expect(plan(graph).weights[1]).toMatchObject({
      groups: 2,
      format: { bits: 8, signed: true, symmetric: true },
    });
    expect(axisOf(graph, 'kirin9000')).toEqual([0, 1, null, null, null]);
  });

  it('a weight on the left or of one dimension has one scale', () => {
    const b = new GraphBuilder();
    const left = b.node('MatMul', [b.constant('w', [4, 16]), b.input('x', [16, 4])]);
    expect(axisOf(b.build([b.node('MatMul', [left, b.constant('v', [4])])]))).toEqual([null, null]);
  });

  it('a computed weight is an activation', () => {
    const b = new GraphBuilder();
    const w = b.relu(b.input('w', [4, 4, 3, 3]));
    const graph = b.build([b.node('Conv', [b.input('x'), w])]);
    expect(plan(graph).weights).toEqual([]);
    expect(rules(graph)).toEqual({ x: 'observed', [w]: 'observed' });
  });

  it('a shared weight is listed for each of its layers', () => {
    const b = new GraphBuilder();
    const w = b.constant('w', [4, 4, 3, 3]);
    const x = b.node('Conv', [b.input('x'), w], {}, { name: 'a' });
    const { weights } = plan(b.build([b.node('Conv', [x, w], {}, { name: 'b' })]));
    expect(weights.map(({ node, tensor }) => [node, tensor])).toEqual([
      ['a', 'w'],
      ['b', 'w'],
    ]);
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

describe('operators that dopt does not know', () => {
  function withUnknown() {
    const b = new GraphBuilder();
    const odd = b.node('Odd', [b.conv(b.input('x'))], {}, { domain: 'com.example', name: 'odd' });
    return { graph: b.build([b.conv(b.node('Wonder', [odd], {}, { name: 'wonder' }))]), odd };
  }

  it('stay float and are listed; what follows them is quantized', () => {
    const { graph } = withUnknown();
    expect(floatOps(graph)).toEqual(['unsupported:Odd', 'unsupported:Wonder']);
    expect(rules(graph)).toEqual({ x: 'observed', 'wonder:0': 'observed' });
  });

  it('are errors with --strict, all of them named', () => {
    const error = errorOf(() => plan(withUnknown().graph, { strict: true }));
    expect(error.code).toBe('OPERATOR_UNKNOWN');
    expect(error.message).toContain('com.example.Odd, Wonder');
    expect(error.found).toContain('odd (com.example.Odd)');
  });

  it('are none when they are excluded', () => {
    const { graph } = withUnknown();
    expect(() => plan(graph, { strict: true, exclude: ['op:com.example.Odd', 'wonder'] })).not.toThrow();
  });
});

describe('exclusions', () => {
  /** Two blocks with a tensor between them that is named after the first. */
  function blocks() {
    const b = new GraphBuilder();
    const x = b.relu(b.conv(b.input('x'), { name: 'backbone/conv' }));
    const y = b.batchNorm(b.conv(x, { name: 'backbone/out' }), 'backbone/bn');
    return { graph: b.build([b.conv(y, { name: 'head/conv' })]), x, y };
  }
  const quantizedNodes = (exclude: string[]) =>
    plan(blocks().graph, { exclude }).weights.map(({ node }) => node);

  it.each([
    ['node name', 'backbone/out', ['backbone/conv', 'head/conv']],
    ['weight name', 'head/conv.weight', ['backbone/conv', 'backbone/out']],
    ['name of a fused node', 'backbone/bn', ['backbone/conv', 'head/conv']],
    ['tensor name: what reads it', 'backbone/bn:0', ['backbone/conv', 'backbone/out']],
    ['graph output: what computes it', 'head/conv:0', ['backbone/conv', 'backbone/out']],
    ['pattern: nodes before tensors', 'backbone/*', ['head/conv']],
    ['pattern of weights', '*.weight', []],
    ['type', 'op:BatchNorm*', ['backbone/conv', 'head/conv']],
  ])('by %s', (_, pattern, left) => expect(quantizedNodes([pattern])).toEqual(left));

  it('an excluded layer needs no quantizer and no fold, and says why it is float', () => {
    const { graph, x, y } = blocks();
    const result = plan(graph, { exclude: ['backbone/out'] });
    expect(result.activations.map(({ tensor }) => tensor)).toEqual(['x', y]);
    expect(result.folds).toEqual([]);
    expect(result.floatNodes).toEqual([
      { node: 'backbone/out', op: 'Conv', cause: 'excluded', reason: 'named by --exclude' },
      { node: 'backbone/bn', op: 'BatchNormalization', cause: 'excluded', reason: 'named by --exclude' },
    ]);
    expect(Object.keys(rules(graph))).toContain(x);
  });

  it('every pattern that matches nothing is named, with names that come near', () => {
    const error = errorOf(() => quantizedNodes(['backbone/cnov', 'op:Cnov', 'head/conv']));
    expect(error.code).toBe('EXCLUDE_UNKNOWN');
    expect(error.found).toBe('backbone/cnov, op:Cnov');
    expect(error.suggestions.join('\n')).toMatch(/"backbone\/cnov", did you mean "backbone\/conv"/);
    expect(error.suggestions.join('\n')).toMatch(/"op:Cnov", did you mean "op:Conv"/);
  });

  it('letters of a pattern that mean something in expressions are plain letters', () => {
    expect(() => quantizedNodes(['backbone.conv'])).toThrow(UserError);
    expect(() => quantizedNodes(['(.*'])).toThrow(UserError);
  });
});

it('a target that dopt does not know is an error', () => {
  const b = new GraphBuilder();
  const graph = b.build([b.conv(b.input('x'))]);
  expect(errorOf(() => plan(graph, { target: 'kirin902' })).code).toBe('TARGET_UNKNOWN');
});
