import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ratesOf } from './device.js';
import { loadTarget } from './target-files.js';
import { tile } from './tiling.js';

const targets = ['kirin9030', 'kirinx90', 'ascend310'].map(loadTarget);
const side = fc.integer({ min: 1, max: 3000 });
const product = fc.record({
  m: side,
  k: side,
  n: side,
  taps: fc.constantFrom(1, 9, 25),
  groups: fc.constantFrom(1, 2),
});

describe('tilings', () => {
  it('fit the buffers twice, in whole steps of the matrix unit, and read everything at least once', () => {
    fc.assert(
      fc.property(
        product,
        fc.constantFrom(...targets),
        fc.constantFrom('fp16', 'int8'),
        (one, target, precision) => {
          const rates = ratesOf(target, precision);
          const { l0a, l0b, l0c } = rates.buffers!;
          const element = precision === 'fp16' ? 2 : 1;
          const { rows, columns, inner, weightReads, activationReads, l0aBytes, l0bBytes } = tile(one, rates);
          const [stepRows, stepInner, stepColumns] = rates.tile;
          expect([rows % stepRows, inner % stepInner, columns % stepColumns]).toEqual([0, 0, 0]);
          expect(2 * rows * inner * element).toBeLessThanOrEqual(l0a);
          expect(2 * inner * columns * element).toBeLessThanOrEqual(l0b);
          expect(2 * rows * columns * 4).toBeLessThanOrEqual(l0c);
          expect(Math.min(weightReads, activationReads)).toBe(1);
          const depth = one.taps * one.k;
          expect(l0aBytes).toBeGreaterThanOrEqual(one.groups * one.m * depth * element);
          expect(l0bBytes).toBeGreaterThanOrEqual(one.groups * depth * one.n * element);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('reads both operands once where one fits as a whole, one of them again where neither does', () => {
    const rates = ratesOf(loadTarget('kirin9030'), 'fp16');
    const small = tile({ m: 3136, k: 64, n: 64, taps: 9, groups: 1 }, rates);
    expect([small.weightReads, small.activationReads]).toEqual([1, 1]);
    const large = tile({ m: 3136, k: 1024, n: 1024, taps: 9, groups: 1 }, rates);
    expect(large.weightReads * large.activationReads).toBeGreaterThan(1);
  });
});
