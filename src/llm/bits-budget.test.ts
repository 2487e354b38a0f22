import { describe, expect, it } from 'vitest';
import { meanBits, widenWithin } from './bits-budget.js';
import type { LlmLinear, LlmStrategy } from './layer-plan.js';

const linear = (name: string, block: number, outputs = 128, inputs = 128): LlmLinear => ({
  name,
  kind: 'linear',
  block,
  shape: [outputs, inputs],
  bias: false,
  head: false,
});
const linears = [0, 1, 2].flatMap((block) => [
  linear(`${block}.q_proj`, block),
  linear(`${block}.v_proj`, block),
  linear(`${block}.down_proj`, block),
]);
const strategies: LlmStrategy[] = linears.map(({ name }) => ({
  name,
  bits: 4,
  groupSize: 128,
  fullRange: true,
  strategy: 'Quant_act_weight_eco',
}));
const wide = (list: LlmStrategy[]) => list.filter(({ bits }) => bits === 8).map(({ name }) => name);

describe('a budget of bits', () => {
  it('counts the scales', () => {
    const of = new Map(strategies.map((one) => [one.name, one]));
    expect(meanBits(linears, of)).toBe(4 + 16 / 128);
  });

  it('goes to down projections at both ends first, then to values', () => {
    // Each wider layer costs 4 bits of 9 layers.
    expect(wide(widenWithin(4.125 + (2 * 4) / 9 + 0.01, linears, strategies, null))).toEqual([
      '0.down_proj',
      '2.down_proj',
    ]);
    expect(wide(widenWithin(4.125 + (4 * 4) / 9 + 0.01, linears, strategies, null))).toContain('0.v_proj');
  });

  it('goes where an earlier run lost most', () => {
    const errors = new Map([
      ['1.q_proj', 0.5],
      ['2.v_proj', 0.1],
    ]);
    expect(wide(widenWithin(4.125 + 4 / 9 + 0.01, linears, strategies, errors))).toEqual(['1.q_proj']);
  });

  it('is never exceeded, and all of it may be too little', () => {
    for (const budget of [4.2, 5, 6.5, 8]) {
      const widened = widenWithin(budget, linears, strategies, null);
      expect(meanBits(linears, new Map(widened.map((one) => [one.name, one])))).toBeLessThanOrEqual(budget);
    }
    expect(() => widenWithin(4.1, linears, strategies, null)).toThrow(/4.125/);
  });
});
