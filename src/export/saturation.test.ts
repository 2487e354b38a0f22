import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import type { Group } from '../config/plan.js';
import type { Layer } from '../quantize/layers.js';
import type { Activation } from './layers.js';
import { saturates } from './saturation.js';

/** A convolution with a function behind it, and whether its quantizer makes the function superfluous. */
function after(op: string, bounds: number[], scale: number, zeroPoint: number, readTwice = false): boolean {
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
  return saturates(builder.build(outputs), group, layer, output);
}

describe('what saturation makes superfluous', () => {
  it('a Relu whose zero is the lowest integer', () => {
    expect(after('Relu', [], 0.1, 0)).toBe(true);
    expect(after('Relu', [], 0.1, 1)).toBe(false);
  });

  it('a Clip whose bounds lie at or beyond the ends of the grid', () => {
    expect(after('Clip', [0, 6], 6 / 255, 0)).toBe(true);
    expect(after('Clip', [0, 6], 5 / 255, 0)).toBe(true);
    expect(after('Clip', [0, 6], 6.1 / 255, 0)).toBe(false);
    expect(after('Clip', [0, 6], 6 / 255, 3)).toBe(false);
  });

  it('no other function, and none whose input is needed elsewhere', () => {
    expect(after('Sigmoid', [], 1 / 255, 0)).toBe(false);
    expect(after('Relu', [], 0.1, 0, true)).toBe(false);
  });
});
