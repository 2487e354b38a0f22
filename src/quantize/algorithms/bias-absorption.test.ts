import { describe, expect, it } from 'vitest';
import { absorbable } from './bias-absorption.js';

const ranges = (...pairs: [number, number][]) => ({
  min: Float64Array.from(pairs, ([low]) => low),
  max: Float64Array.from(pairs, ([, high]) => high),
  meanSquare: new Float64Array(pairs.length),
  mean: new Float64Array(pairs.length),
});

describe('offsets that the next layer can take', () => {
  const pairs = ranges([10, 12], [-1, 1], [-12, -10], [0.1, 9]);

  it('are what values lie above, less a reserve, where that is much of them', () => {
    expect([...absorbable(pairs, 'Relu', Infinity)]).toEqual([expect.closeTo(9.9), 0, 0, 0]);
  });

  it('are on either side of zero without an activation function', () => {
    expect([...absorbable(pairs, 'none', Infinity)]).toEqual([
      expect.closeTo(9.9),
      0,
      expect.closeTo(-9.9),
      0,
    ]);
  });

  it('stay where values come near an upper bound', () => {
    expect([...absorbable(pairs, 'Relu', 12)]).toEqual([0, 0, 0, 0]);
  });
});
