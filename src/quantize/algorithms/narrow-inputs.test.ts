import { describe, expect, it } from 'vitest';
import { type MeasuredLayer, narrowInputs } from './narrow-inputs.js';

const layer = (name: string, input: string | null, sqnr: number): MeasuredLayer => ({
  name,
  input,
  power: 2,
  error: 2 / 10 ** (sqnr / 10),
});

describe('inputs that 8 bits are too few for', () => {
  it('are those that a first layer gets less of than of a normal distribution', () => {
    expect(narrowInputs([layer('a', 'picture', 40), layer('b', 'mfcc', 25)])).toEqual([
      { input: 'mfcc', layer: 'b', sqnr: expect.closeTo(25) },
    ]);
  });

  it('are named once, with the layer that loses most', () => {
    const found = narrowInputs([layer('a', 'x', 30), layer('b', 'x', 20), layer('c', 'x', 33)]);
    expect(found.map(({ layer }) => layer)).toEqual(['b']);
  });

  it('are no tensors inside the network, and none without an error or without a signal', () => {
    const dead = { name: 'd', input: 'x', power: 0, error: 0 };
    const exact = { name: 'e', input: 'x', power: 1, error: 0 };
    expect(narrowInputs([layer('a', null, 10), dead, exact])).toEqual([]);
  });
});
