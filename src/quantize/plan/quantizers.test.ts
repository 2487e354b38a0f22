import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../../test/helpers/graph-builder.js';
import { errorOf, floatOps, plan, rules } from '../../../test/helpers/plan.js';

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

  it('rows picked from a constant table have a range of their own', () => {
    const b = new GraphBuilder();
    const table = b.constant('table', [1000, 4]);
    const rows = b.node('Gather', [table, b.input('ids', [1, 16], 'int64')]);
    const graph = b.build([b.matMul(rows)]);
    expect(rules(graph)).toEqual({ [rows]: 'observed' });
    expect(plan(graph).activations[0]!.producer).toBe('Gather_0');
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

  it('int16-8 is refused for a target without such layers', () => {
    const b = new GraphBuilder();
    const graph = b.build([b.conv(b.input('x'))]);
    const refused = errorOf(() => plan(graph, { strategy: 'int16-8', target: 'kirin9000' }));
    expect(refused).toMatchObject({ code: 'TARGET_STRATEGY', found: 'kirin9000' });
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
