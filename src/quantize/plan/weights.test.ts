import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../../test/helpers/graph-builder.js';
import { plan, rules } from '../../../test/helpers/plan.js';
import type { Graph } from '../../graph/graph.js';

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
    expect(axisOf(graph, 'kirin9000')).toEqual([0, null, null, null]);
  });

  it('has one scale everywhere when that was asked for, and then no input has a scale a channel', () => {
    const b = new GraphBuilder();
    const graph = b.build([b.matMul(b.conv(b.relu(b.input('x')), { group: 4 }))]);
    const { weights, activations } = plan(graph, { weightsGranularity: 'tensor' });
    expect(weights.map(({ axis }) => axis)).toEqual([null, null]);
    expect(activations.map(({ channelAxis }) => channelAxis)).toEqual([null, null]);
    expect(plan(graph).activations[0]!.channelAxis).toBe(1);
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
