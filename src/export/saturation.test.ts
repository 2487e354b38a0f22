import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import type { Group } from '../config/plan.js';
import type { Layer } from '../quantize/layers.js';
import type { Activation } from './layers.js';
import { integersLeft, isWholeGrid } from './saturation.js';

/**
 * A convolution with a function behind it: the integers that the function leaves of those that its quantizer writes,
 * 'all' of them, or null where it does more than confine.
 */
function after(op: string, bounds: number[], scale: number, zeroPoint: number, readTwice = false) {
  const builder = new GraphBuilder();
  const conv = builder.node(
    'Conv',
    [builder.input('x'), builder.constant('w', [4, 4, 1, 1])],
    {},
    { name: 'conv' },
  );
  const inputs = [conv, ...bounds.map((bound) => builder.scalar(bound))];
  const result = builder.node(op, inputs, {}, { name: 'function' });
  const outputs = readTwice ? [result, builder.node('Neg', [conv])] : [result];
  const group = { name: 'conv', nodes: ['conv', 'function'], output: result } as unknown as Group;
  const layer = { name: 'conv', output: conv, batchNorm: null, bias: null } as unknown as Layer;
  const output: Activation = {
    tensor: result,
    bits: 8,
    signed: false,
    axis: null,
    scales: Float32Array.of(scale),
    zeroPoints: [zeroPoint],
  };
  const left = integersLeft(builder.build(outputs), group, layer, output);
  return left && isWholeGrid(left, output) ? 'all' : left;
}

describe('of the integers that a quantizer writes', () => {
  it('a Relu leaves those from zero on', () => {
    expect(after('Relu', [], 0.1, 0)).toBe('all');
    expect(after('Relu', [], 0.1, 1)).toEqual([1, 255]);
  });

  it('a Clip leaves those between its bounds, all where these lie at or beyond the ends of the grid', () => {
    expect(after('Clip', [0, 6], 6 / 255, 0)).toBe('all');
    expect(after('Clip', [0, 6], 5 / 255, 0)).toBe('all');
    expect(after('Clip', [0, 6], 6.1 / 255, 0)).toEqual([0, 251]);
    expect(after('Clip', [0, 6], 6 / 255, 3)).toEqual([3, 255]);
  });

  it('another function, or one whose input is needed elsewhere, leaves none to be told', () => {
    expect(after('Sigmoid', [], 1 / 255, 0)).toBeNull();
    expect(after('Relu', [], 0.1, 0, true)).toBeNull();
  });
});
