import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { channelFindings } from './channels.js';
import { lastDoubling } from './growth.js';
import { kurtosis, momentsOf, pooled } from './moments.js';
import { tailRatio } from './tail.js';

/** By the definition, over all values at once. */
function definition(values: number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const moment = (power: number): number =>
    values.reduce((sum, x) => sum + (x - mean) ** power, 0) / values.length;
  return moment(4) / moment(2) ** 2;
}

describe('kurtosis', () => {
  it('is the fourth standardized moment, of pooled parts as of the whole', () => {
    const values = fc.array(fc.integer({ min: -100, max: 100 }), { minLength: 4, maxLength: 60 });
    fc.assert(
      fc.property(values, values, (a, b) => {
        fc.pre(definition([...a, ...b]) < 1e6 && new Set([...a, ...b]).size > 2);
        const together = kurtosis(pooled([momentsOf(a), momentsOf(b), momentsOf([])]));
        if (together !== null) expect(together).toBeCloseTo(definition([...a, ...b]), 3);
      }),
    );
  });

  it('is known for two values, and not where nothing varies', () => {
    expect(kurtosis(momentsOf([-1, 1]))).toBeCloseTo(1);
    expect(kurtosis(momentsOf([5, 5, 5]))).toBeNull();
    expect(kurtosis(momentsOf([]))).toBeNull();
  });

  it('grows with a lone far value', () => {
    const flat = Array.from({ length: 1000 }, (_, i) => i / 1000);
    expect(kurtosis(momentsOf([...flat, 50]))!).toBeGreaterThan(100);
  });
});

it('extremes of no values are zero', () => {
  expect(pooled([])).toMatchObject({ count: 0, low: 0, high: 0 });
});

describe('channels', () => {
  it('are dead when zero throughout, and outliers far beyond the median of the others', () => {
    expect(channelFindings([0, 1, 2, 1, 100, 0, 16])).toEqual({
      count: 7,
      dead: [0, 5],
      outliers: [
        { channel: 4, ratio: 50 },
        { channel: 6, ratio: 8 },
      ],
    });
    expect(channelFindings([0, 0])).toEqual({ count: 2, dead: [0, 1], outliers: [] });
  });
});

describe('the growth of a range', () => {
  const points = (...highs: number[]) => highs.map((high, i) => ({ samples: 2 ** i, low: 0.5, high }));

  it('is measured over the second half of the samples, zero inside', () => {
    expect(lastDoubling(points(1, 2, 4))).toBe(1);
    expect(lastDoubling(points(4, 4, 4))).toBe(0);
    expect(lastDoubling([...points(4, 8), { samples: 3, low: -1, high: 8 }])).toBe(9 / 4 - 1);
    expect(lastDoubling(points(3))).toBe(0);
    expect(lastDoubling([])).toBe(0);
  });

  it('from nothing to something has no end', () => {
    expect(lastDoubling([...points(0), { samples: 2, low: 0, high: 1 }])).toBe(Number.MAX_VALUE);
  });
});

describe('the tail', () => {
  it('compares the largest magnitude with that of the 99.9 % quantile', () => {
    const counts = new Array<number>(100).fill(0);
    counts[50] = 9990;
    counts[99] = 10;
    expect(tailRatio({ from: -50, width: 1, counts }, 0, 50)).toBe(100);
    expect(tailRatio({ from: -50, width: 1, counts: [...counts].reverse() }, 0, 50)).toBe(100);
    expect(tailRatio({ from: -50, width: 1, counts }, 1e8, 50)).toBeNull();
  });

  it('is 1 where there is none', () => {
    expect(tailRatio({ from: 0, width: 1, counts: [5, 5] }, 0, 1.5)).toBe(1);
    expect(tailRatio({ from: 0, width: 1, counts: [] }, 10, 0)).toBeNull();
  });
});
