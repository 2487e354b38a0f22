import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TensorStatistics } from '../config/statistics.js';
import { distribution, histogramView } from './distribution.js';

/** Statistics of 4 bins of width 1 from −1 on: [−1, 0), [0, 1), [1, 2), [2, 3). */
const statistics = (change: Partial<TensorStatistics> = {}): TensorStatistics => ({
  tensor: 't',
  count: 100,
  zeros: 20,
  nans: 0,
  infinities: 0,
  min: -1,
  max: 3,
  sum: 0,
  sumSquares: 200,
  histogram: { base: -1, width: 1, bins: 4 },
  ...change,
});
const one = (scale: number) => ({ channels: 1, smallest: scale, largest: scale });

describe('distribution', () => {
  it('counts what lies beyond half a step outside the clip', () => {
    // Reach up to 1.5 + 0.5 = 2: the last bin with 8 of 100 values is outside, its middle 1 above the clip's end.
    const found = distribution(statistics(), [30, 22, 20, 8], one(1), [-1, 1.5]);
    expect(found.saturated).toBeCloseTo(0.08, 12);
    expect(found.clipping).toBeCloseTo((8 * 1) / 200, 12);
    // 80 values are not zero, 8 of them clipped: 72 are rounded.
    expect(found.rounding).toBeCloseTo(72 / 12 / 200, 12);
    expect(found.zeros).toBe(0.2);
  });

  it('finds nothing outside of a clip that holds everything', () => {
    const found = distribution(statistics(), [30, 22, 20, 8], one(0.01), [-1, 3]);
    expect(found).toMatchObject({ saturated: 0, clipping: 0, low: -1, high: 3 });
  });

  it('does not claim to know saturation of channels with clips of their own', () => {
    const scale = { channels: 2, smallest: 0.01, largest: 0.02 };
    expect(distribution(statistics(), [30, 22, 20, 8], scale, [-1, 1]).saturated).toBeNull();
  });

  it('survives a tensor that was never seen, or always zero', () => {
    const empty = statistics({ count: 0, zeros: 0, min: 0, max: 0, sumSquares: 0 });
    expect(distribution(empty, [0, 0, 0, 0], one(1), [0, 255])).toMatchObject({
      saturated: 0,
      rounding: 0,
      zeros: 0,
    });
  });
});

describe('histogramView', () => {
  it('splits bins over the range that was seen', () => {
    const view = histogramView(statistics({ min: 0, max: 2 }), [0, 30, 10, 0], 4);
    expect(view).toEqual({ low: 0, high: 2, counts: [15, 15, 5, 5] });
  });

  it('keeps the number of values', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(1000), { minLength: 4, maxLength: 4 }),
        fc.integer({ min: 1, max: 9 }),
        (counts, bins) => {
          const scaled = counts.map((count) => count * 1000);
          const kept = histogramView(statistics(), scaled, bins).counts.reduce((a, b) => a + b, 0);
          const total = scaled.reduce((a, b) => a + b, 0);
          expect(Math.abs(kept - total)).toBeLessThanOrEqual(bins);
        },
      ),
    );
  });
});
