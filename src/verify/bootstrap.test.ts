import { describe, expect, it } from 'vitest';
import { draws, ROUNDS, spread } from './bootstrap.js';
import { RatioAccumulator } from './ratio.js';

/** Share of the first half of 40 samples, once for each draw. */
const shares = [...draws(40)].map((counts) => counts.subarray(0, 20).reduce((a, b) => a + b, 0) / 40);

describe('draws', () => {
  it('are the same every time, of all samples each', () => {
    expect([...draws(40)]).toEqual([...draws(40)]);
    expect([...draws(40)].every((counts) => counts.reduce((a, b) => a + b, 0) === 40)).toBe(true);
    expect(shares).toHaveLength(ROUNDS);
    expect([...draws(7)]).toEqual([]);
  });
});

describe('spread', () => {
  it('is that of a binomial share', () => {
    const { standardErrors, interval } = spread(null, shares);
    expect(standardErrors!.quantized).toBeGreaterThan(0.07);
    expect(standardErrors!.quantized).toBeLessThan(0.09);
    expect(standardErrors).toMatchObject({ float: null, difference: null });
    expect(interval).toBeNull();
  });

  it('of a difference is paired: what both models share falls away', () => {
    const worse = shares.map((share) => share - 0.1);
    const { standardErrors, interval } = spread(shares, worse);
    expect(standardErrors!.difference).toBeCloseTo(0, 12);
    expect(standardErrors!.float).toBeCloseTo(standardErrors!.quantized, 12);
    expect(interval![0]).toBeCloseTo(-0.1, 12);
    expect(interval![1]).toBeCloseTo(-0.1, 12);
  });

  it('passes over draws that a figure is not defined for, and needs most of them', () => {
    const holes = shares.map((share, i) => (i % 4 === 0 ? Number.NaN : share));
    expect(spread(null, holes).standardErrors!.quantized).toBeGreaterThan(0.07);
    const few = shares.map((share, i) => (i < ROUNDS / 4 ? share : Number.NaN));
    expect(spread(shares, few)).toEqual({ standardErrors: null, interval: null });
    expect(spread(null, [])).toEqual({ standardErrors: null, interval: null });
  });
});

describe('RatioAccumulator', () => {
  it('gives the standard error of a mean where every sample weighs the same', () => {
    const ratio = new RatioAccumulator();
    const values = Array.from({ length: 20 }, (_, i) => i % 5);
    for (const value of values) ratio.add(value, 1);
    const variance = values.reduce((sum, value) => sum + (value - 2) ** 2, 0) / 19;
    expect(ratio.ratio).toBe(2);
    expect(ratio.standardError).toBeCloseTo(Math.sqrt(variance / 20), 12);
  });

  it('is sure where every sample has the same ratio, and unsure of few', () => {
    const ratio = new RatioAccumulator();
    for (let i = 1; i < 8; i++) ratio.add(3 * i, i);
    expect(ratio.standardError).toBeNull();
    ratio.add(24, 8);
    expect(ratio.ratio).toBe(3);
    expect(ratio.standardError).toBeCloseTo(0, 6);
  });
});
