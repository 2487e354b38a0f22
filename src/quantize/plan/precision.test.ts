import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../../test/helpers/graph-builder.js';
import { errorOf, floatOps, plan } from '../../../test/helpers/plan.js';
import type { Graph } from '../../graph/graph.js';
import type { Precision } from './precision.js';

/** Bits of each quantized tensor. */
const bits = (graph: Graph, precision: Partial<Precision>, target = 'generic-npu'): Record<string, number> =>
  Object.fromEntries(
    plan(graph, { target, precision: { int16: [], float: [], ...precision } }).activations.map(
      ({ tensor, format }) => [tensor, format.bits],
    ),
  );

/** x → conv a → pool p → conv b, and a → conv c: a and p share parameters. */
function pooled(): Graph {
  const b = new GraphBuilder();
  const a = b.conv(b.input('x'), { name: 'a' });
  const p = b.node('MaxPool', [a], {}, { name: 'p' });
  return b.build([b.conv(p, { name: 'b' }), b.conv(a, { name: 'c' })]);
}

describe('int16 tensors', () => {
  it('widen alone, whatever they are called by: name or pattern', () => {
    expect(bits(pooled(), { int16: ['x'] })).toEqual({ x: 16, 'a:0': 8, 'p:0': 8 });
    expect(bits(pooled(), { int16: ['a*', 'x'] })).toEqual({ x: 16, 'a:0': 16, 'p:0': 16 });
  });

  it('take those that share their parameters with them, from either end', () => {
    for (const name of ['a:0', 'p:0'])
      expect(bits(pooled(), { int16: [name] })).toEqual({ x: 8, 'a:0': 16, 'p:0': 16 });
  });

  it('may have a scale a channel, as narrow ones may', () => {
    const b = new GraphBuilder();
    const graph = b.build([b.conv(b.conv(b.input('x')), { group: 4 })]);
    const axes = (int16: string[]) =>
      plan(graph, { precision: { int16, float: [] } }).activations.map(({ channelAxis }) => channelAxis);
    expect(axes([])).toEqual([null, 1]);
    expect(axes(['conv0:0'])).toEqual([null, 1]);
  });

  it('are refused by a target without such layers', () => {
    const { code, exitCode } = errorOf(() => bits(pooled(), { int16: ['x'] }, 'kirin9000'));
    expect([code, exitCode]).toEqual(['TARGET_STRATEGY', 2]);
    expect(bits(pooled(), { float: ['x'] }, 'kirin9000')).toEqual({ 'a:0': 8, 'p:0': 8 });
  });
});

describe('float tensors', () => {
  it('take every layer that reads them out, behind pooling too', () => {
    const graph = pooled();
    const precision = { int16: [], float: ['p:0'] };
    expect(bits(graph, precision)).toEqual({ x: 8 });
    const { weights, floatNodes } = plan(graph, { precision });
    expect(weights.map(({ node }) => node)).toEqual(['a']);
    expect(floatNodes.filter(({ cause }) => cause === 'precision')).toEqual([
      { node: 'b', op: 'Conv', cause: 'precision', reason: 'reads p:0, which stays float for accuracy' },
      { node: 'c', op: 'Conv', cause: 'precision', reason: 'reads a:0, which stays float for accuracy' },
    ]);
  });

  it('take out a sum of integers, but not the layer behind it', () => {
    const b = new GraphBuilder();
    const [x, y] = [b.input('x'), b.input('y')];
    const [left, right] = [b.conv(x, { name: 'l' }), b.conv(y, { name: 'r' })];
    const sum = b.node('Add', [left, right], {}, { name: 'sum' });
    const graph = b.build([b.conv(sum, { name: 'last' })]);
    expect(bits(graph, {})).toEqual({ x: 8, y: 8, 'l:0': 8, 'sum:0': 8 });
    expect(bits(graph, {}, 'hexagon-generic')).toEqual({ x: 8, y: 8, 'l:0': 8, 'r:0': 8, 'sum:0': 8 });
    expect(bits(graph, { float: ['l:0'] })).toEqual({ x: 8, y: 8, 'sum:0': 8 });
    expect(floatOps(graph, { precision: { int16: [], float: ['l:0'] } })).toEqual(['precision:Add']);
  });

  it('win where both are asked for', () => {
    expect(bits(pooled(), { int16: ['*'], float: ['x'] })).toEqual({ 'a:0': 16, 'p:0': 16 });
  });
});

it('a name of no quantized tensor is an error that names what comes near', () => {
  const error = errorOf(() => bits(pooled(), { int16: ['a:1', 'nowhere'] }));
  expect(error.code).toBe('PRECISION_UNKNOWN');
  expect(error.found).toBe('a:1, nowhere');
  expect(error.suggestions[0]).toContain('"a:0"');
});
