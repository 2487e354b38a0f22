import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { NAMED_OPERATORS } from './function-name.js';
import { functionFrom, fuseBehind } from './fusion.js';
import type { Graph } from './graph.js';

type Spelling = (b: GraphBuilder, x: string) => string;

const binary =
  (op: string): ((b: GraphBuilder, x: string, constant: number) => string) =>
  (b, x, constant) =>
    b.node(op, [x, b.scalar(constant)]);
const [add, mul, div, pow] = [binary('Add'), binary('Mul'), binary('Div'), binary('Pow')];
const clip = (b: GraphBuilder, x: string, low: number, high: number): string =>
  b.node('Clip', [x, b.scalar(low), b.scalar(high)]);

const SPELLINGS: [string, Spelling][] = [
  ['Relu', (b, x) => b.relu(x)],
  ['Relu', (b, x) => b.node('Max', [x, b.scalar(0)])],
  ['Relu6', (b, x) => clip(b, x, 0, 6)],
  ['Relu6', (b, x) => b.node('Clip', [x], { min: 0, max: 6 })],
  ['Relu6', (b, x) => b.node('Min', [b.relu(x), b.scalar(6)])],
  ['Clip', (b, x) => clip(b, x, -1, 1)],
  ['PRelu', (b, x) => b.node('PRelu', [x, b.constant('slope', [4, 1, 1])])],
  // As TensorFlow writes it: relu(x) - slope * relu(-x).
  [
    'PRelu',
    (b, x) => {
      const negative = b.node('Mul', [b.constant('slope', [4, 1, 1]), b.relu(b.node('Neg', [x]))]);
      return b.node('Sub', [b.relu(x), negative]);
    },
  ],
  ['LeakyRelu', (b, x) => b.node('LeakyRelu', [x], { alpha: 0.1 })],
  ['PRelu', (b, x) => b.node('Max', [x, mul(b, x, 0.1)])],
  ['Elu', (b, x) => b.node('Elu', [x])],
  ['Sigmoid', (b, x) => b.node('Sigmoid', [x])],
  ['Sigmoid', (b, x) => b.node('Reciprocal', [add(b, b.node('Exp', [b.node('Neg', [x])]), 1)])],
  ['Tanh', (b, x) => b.node('Tanh', [x])],
  ['HardSigmoid', (b, x) => b.node('HardSigmoid', [x])],
  ['HardSigmoid', (b, x) => div(b, clip(b, add(b, x, 3), 0, 6), 6)],
  ['SiLU', (b, x) => b.node('Mul', [x, b.node('Sigmoid', [x])])],
  ['SiLU', (b, x) => b.node('Mul', [b.node('Sigmoid', [x]), x])],
  ['SiLU', (b, x) => b.node('Div', [x, add(b, b.node('Exp', [b.node('Neg', [x])]), 1)])],
  ['HardSwish', (b, x) => b.node('HardSwish', [x])],
  ['HardSwish', (b, x) => b.node('Mul', [x, b.node('HardSigmoid', [x])])],
  ['HardSwish', (b, x) => b.node('Mul', [x, b.node('HardSigmoid', [x], { alpha: 1 / 6, beta: 0.5 })])],
  ['HardSwish', (b, x) => div(b, b.node('Mul', [x, clip(b, add(b, x, 3), 0, 6)]), 6)],
  ['HardSwish', (b, x) => b.node('Mul', [x, div(b, clip(b, add(b, x, 3), 0, 6), 6)])],
  ['HardSwish', (b, x) => b.node('Mul', [x, mul(b, clip(b, add(b, x, 3), 0, 6), 0.16667)])],
  ['HardSwish', (b, x) => b.node('Mul', [div(b, x, 6), clip(b, add(b, x, 3), 0, 6)])],
  ['Mish', (b, x) => b.node('Mul', [x, b.node('Tanh', [b.node('Softplus', [x])])])],
  [
    'GELU',
    (b, x) => {
      const erf = b.node('Erf', [div(b, x, Math.SQRT2)]);
      return mul(b, b.node('Mul', [x, add(b, erf, 1)]), 0.5);
    },
  ],
  [
    'GELU',
    (b, x) => {
      const cube = mul(b, pow(b, x, 3), 0.044715);
      const tanh = b.node('Tanh', [mul(b, b.node('Add', [x, cube]), 0.79788)]);
      return b.node('Mul', [mul(b, x, 0.5), add(b, tanh, 1)]);
    },
  ],
  ['GELU', (b, x) => b.node('Mul', [x, b.node('Sigmoid', [mul(b, x, 1.702)])])],
];

/** A layer, a function of its result, and a layer that reads the function. */
function behindConv(spell: Spelling) {
  const b = new GraphBuilder();
  const x = b.conv(b.input('x'), { name: 'first' });
  const y = spell(b, x);
  return { graph: b.build([b.conv(y, { name: 'last' })]), x, y };
}

describe('fuseBehind', () => {
  it.each(SPELLINGS)('%s is one function whatever its spelling (%#)', (name, spell) => {
    const { graph, x, y } = behindConv(spell);
    expect(fuseBehind(graph, x)).toMatchObject({ output: y, name });
  });

  it('gains and offsets before an activation belong to the layer', () => {
    const { graph, x, y } = behindConv((b, t) => {
      const scaled = b.node('Mul', [t, b.constant('gain', [1, 4, 1, 1])]);
      return b.node('Relu', [b.node('Add', [scaled, b.constant('shift', [1, 4, 1, 1])])]);
    });
    expect(fuseBehind(graph, x)).toMatchObject({ output: y, name: 'Relu' });
  });

  it.each([...NAMED_OPERATORS])('%s computes the function that it is called after', (op) => {
    // Behind a gain it is found by its values.
    const { graph, x } = behindConv((b, t) => b.node(op, [mul(b, t, 2)]));
    expect(fuseBehind(graph, x)!.name).toBe(op);
  });

  it('gains and offsets alone have no name', () => {
    const { graph, x, y } = behindConv((b, t) => add(b, mul(b, t, 2), 1));
    expect(fuseBehind(graph, x)).toMatchObject({ output: y, name: null });
  });

  it('a gain behind a sigmoid is no sigmoid any more', () => {
    const { graph, x } = behindConv((b, t) => mul(b, b.node('Sigmoid', [t]), 2));
    expect(fuseBehind(graph, x)!.name).toBe('Sigmoid+Mul');
  });

  it('a second reader of the layer blocks fusion', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    expect(fuseBehind(b.build([b.conv(b.relu(x)), b.conv(x)]), x)).toBeNull();
  });

  it('a second reader of a step in between blocks fusion from there on', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const sigmoid = b.node('Sigmoid', [x]);
    const graph = b.build([b.conv(b.node('Mul', [x, sigmoid])), b.conv(sigmoid)]);
    expect(fuseBehind(graph, x)).toBeNull();
  });

  it('a graph output and a subgraph count as readers', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    expect(fuseBehind(b.build([x, b.conv(b.relu(x))]), x)).toBeNull();

    const c = new GraphBuilder();
    const y = c.conv(c.input('x'));
    const relu = c.relu(y);
    const loop = c.node('If', [c.input('condition', [], 'bool')], {}, { captures: [y] });
    expect(fuseBehind(c.build([c.conv(relu), loop]), y)).toBeNull();
  });

  it('a sum of two tensors is no function of one', () => {
    const b = new GraphBuilder();
    const input = b.input('x');
    const x = b.conv(input);
    expect(fuseBehind(b.build([b.conv(b.node('Add', [x, input]))]), x)).toBeNull();
  });

  it('a constant that spreads the tensor out is no function of each element', () => {
    const b = new GraphBuilder();
    const x = b.node('Conv', [b.input('x'), b.constant('w', [4, 4, 1, 1])], {}, { shape: [1, 4, 1, 1] });
    const grid = b.node('Add', [x, b.constant('grid', [1, 4, 8, 8])], {}, { shape: [1, 4, 8, 8] });
    expect(fuseBehind(b.build([b.conv(grid)]), x)).toBeNull();
  });

  it('takes nothing that the caller refuses', () => {
    const { graph, x } = behindConv((b, t) => b.relu(t));
    expect(fuseBehind(graph, x, (node) => node.op !== 'Relu')).toBeNull();
  });
});

describe('functionFrom', () => {
  /** A tensor with a residual connection around a function of it. */
  function beside(spell: Spelling): { graph: Graph; x: string; y: string } {
    const b = new GraphBuilder();
    const x = b.input('x', [1, 16, 64]);
    const y = spell(b, x);
    return { graph: b.build([b.node('Add', [b.matMul(y), x])]), x, y };
  }
  const first = (graph: Graph) => functionFrom(graph, graph.nodes[0]!);

  it('is whole though others read its input too', () => {
    const { graph, y } = beside((b, x) => b.node('Mul', [x, b.node('Sigmoid', [x])]));
    expect(first(graph)).toMatchObject({ output: y, name: 'SiLU', normalizes: false });
  });

  it('a layer normalization written out is one function', () => {
    const { graph, y } = beside((b, x) => b.layerNorm(x));
    const region = first(graph)!;
    expect(region).toMatchObject({ output: y, name: 'LayerNormalization', normalizes: true });
    expect(region.nodes.map((node) => node.op).join(' ')).toBe(
      'ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add',
    );
  });

  it('over the spatial axes it is an instance normalization', () => {
    const b = new GraphBuilder();
    const x = b.input('x', [1, 4, 8, 8]);
    const centred = b.node('Sub', [x, b.node('ReduceMean', [x], { axes: [2, 3] })]);
    const variance = b.node('ReduceMean', [b.node('Mul', [centred, centred])], { axes: [2, 3] });
    const y = b.node('Div', [centred, b.node('Sqrt', [add(b, variance, 1e-5)])]);
    expect(first(b.build([b.conv(y)]))).toMatchObject({ output: y, name: 'InstanceNormalization' });
  });

  it('a normalization by root mean square is told from a layer normalization', () => {
    const { graph, y } = beside((b, x) => {
      const square = b.node('ReduceMean', [pow(b, x, 2)], { axes: [-1] });
      const normal = b.node('Mul', [x, b.node('Reciprocal', [b.node('Sqrt', [add(b, square, 1e-6)])])]);
      return b.node('Mul', [b.constant('gamma', [64]), normal]);
    });
    expect(first(graph)).toMatchObject({ output: y, name: 'RMSNormalization' });
  });

  it('a softmax written out is a softmax', () => {
    const { graph, y } = beside((b, x) => {
      const exp = b.node('Exp', [b.node('Sub', [x, b.node('ReduceMax', [x], { axes: [-1] })])]);
      return b.node('Div', [exp, b.node('ReduceSum', [exp, b.integers(-1)])]);
    });
    expect(first(graph)).toMatchObject({ output: y, name: 'Softmax', normalizes: true });
  });

  it('an average alone, or with an activation, is none', () => {
    const { graph } = beside((b, x) => b.relu(b.node('ReduceMean', [x], { axes: [-1] })));
    expect(first(graph)).toBeNull();
  });

  it('an average that gates its own input is none', () => {
    const { graph } = beside((b, x) => b.node('Mul', [x, b.node('ReduceMean', [x], { axes: [-1] })]));
    expect(first(graph)).toBeNull();
  });
});
