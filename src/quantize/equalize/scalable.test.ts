import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../../test/helpers/graph-builder.js';
import { plan } from '../../../test/helpers/plan.js';
import type { Graph } from '../../graph/graph.js';
import { collectLayers } from '../layers.js';
import { FIXED } from './channel-sets.js';
import { scalableChannels } from './scalable.js';

const sizes = (graph: Graph, name: string) => graph.constant(name)!.shape;

/** Sets of a tensor's channels; all FIXED where it keeps its scale. */
function setsIn(graph: Graph) {
  const decided = plan(graph);
  const constants = {
    float32: (name: string) => {
      const shape = sizes(graph, name);
      return { data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape };
    },
  };
  const scalable = scalableChannels(graph, decided, collectLayers(graph.file, decided, constants), true);
  return (tensor: string): number[] | null => {
    const found = scalable.channels.get(tensor);
    return found ? [...scalable.sets.setsOf(found.numbers)] : null;
  };
}
const free = (sets: number[] | null): boolean => sets?.every((set) => set !== FIXED) ?? false;
const shaped = { shape: [1, 4, 8, 8] };

describe('scalable channels', () => {
  it('lie between two layers, through what commutes with scales, and never at the ends of a network', () => {
    const b = new GraphBuilder();
    const a = b.conv(b.input('x'), { name: 'a', bias: true });
    const r = b.node('Relu', [a], {}, shaped);
    const p = b.node('MaxPool', [r], {}, shaped);
    const y = b.conv(p, { name: 'y', bias: true });
    const graph = withShapes(b, [y]);
    const sets = setsIn(graph);
    expect(free(sets(a))).toBe(true);
    expect(sets(p)).toEqual(sets(a));
    expect(sets(y)).toEqual([FIXED, FIXED, FIXED, FIXED]);
    expect(sets('x')).toBeNull();
  });

  it('keep their scale where something else reads them, too', () => {
    const b = new GraphBuilder();
    const a = b.conv(b.input('x'), { name: 'a', bias: true });
    const s = b.node('Sigmoid', [a], {}, shaped);
    const y = b.node('Add', [b.conv(a, { name: 'b' }), s], {}, shaped);
    expect(free(setsIn(withShapes(b, [b.conv(y)]))(a))).toBe(false);
  });

  it('are tied by sums, and where layers share weights', () => {
    const b = new GraphBuilder();
    const x = b.input('x');
    const first = b.conv(x, { name: 'first', bias: true });
    const second = b.conv(x, { name: 'second', bias: true });
    const sum = b.node('Add', [first, second], {}, shaped);
    const one = b.conv(sum, { name: 'one' });
    const two = b.node('Conv', [b.conv(x, { name: 'third' }), 'one.weight'], {}, { ...shaped, name: 'two' });
    const end = b.node('Add', [b.conv(one, { name: 'e' }), b.conv(two, { name: 'f' })], {}, shaped);
    const sets = setsIn(withShapes(b, [end]));
    expect(free(sets(first))).toBe(true);
    expect(sets(second)).toEqual(sets(first));
    expect(sets('third:0')).toEqual(sets(first));
    expect(sets(two)).toEqual(sets(one));
    expect(free(sets(one))).toBe(true);
  });

  it('follow their branch through a concatenation, and a gate keeps its own', () => {
    const b = new GraphBuilder();
    const x = b.input('x');
    const left = b.conv(x, { name: 'left', bias: true });
    const right = b.conv(x, { name: 'right', bias: true });
    const gate = b.node('Sigmoid', [b.conv(x, { name: 'gate' })], {}, shaped);
    const gated = b.node('Mul', [right, gate], {}, shaped);
    const joined = b.node('Concat', [left, gated], { axis: 1 }, { shape: [1, 8, 8, 8] });
    const weight = b.constant('wide', [4, 8, 1, 1]);
    const y = b.node('Conv', [joined, weight], {}, shaped);
    const sets = setsIn(withShapes(b, [y]));
    expect(sets(joined)).toEqual([...sets(left)!, ...sets(right)!]);
    expect(free(sets(joined))).toBe(true);
    expect(sets('gate:0')).toEqual([FIXED, FIXED, FIXED, FIXED]);
  });

  it('lie behind the gain of a layer normalization', () => {
    const b = new GraphBuilder();
    const x = b.input('x', [1, 10, 64]);
    const norm = b.layerNorm(x);
    const y = b.node('MatMul', [norm, b.constant('w', [64, 8])], {}, { shape: [1, 10, 8] });
    const graph = withShapes(b, [y], [1, 10, 64]);
    expect(free(setsIn(graph)(norm))).toBe(true);
  });
});

/** A graph whose tensors without a shape have the usual one. */
function withShapes(b: GraphBuilder, outputs: string[], shape = [1, 4, 8, 8]): Graph {
  const file = b.file(outputs);
  for (const type of [...Object.values(file.tensors), ...file.outputs]) type.shape ??= shape;
  return b.build(outputs);
}
