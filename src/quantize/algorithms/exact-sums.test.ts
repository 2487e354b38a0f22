import { describe, expect, it } from 'vitest';
import type { QuantizerFormat } from '../../config/plan.js';
import { loadNative } from '../../native/index.js';
import {
  coveringRange,
  inputParams,
  inputRange,
  roundedUp,
  sumsFewProducts,
  weightScale,
} from './exact-sums.js';

const core = loadNative();
const uint8: QuantizerFormat = { bits: 8, signed: false, symmetric: false };
const int8: QuantizerFormat = { bits: 8, signed: true, symmetric: false };

describe('roundedUp', () => {
  it('gives the next number of so many significant bits, or the number itself', () => {
    expect(roundedUp(1 / 128, 5)).toBe(1 / 128);
    expect(roundedUp(17, 4)).toBe(18);
    expect(roundedUp(31.5, 5)).toBe(32);
    expect(roundedUp(3e-39, 4)).toBeGreaterThanOrEqual(3e-39);
  });
});

describe('sumsFewProducts', () => {
  it('takes depthwise kernels and those over pictures, and no matrix products', () => {
    expect(sumsFewProducts('Conv', [32, 1, 3, 3], 32)).toBe(true);
    expect(sumsFewProducts('Conv', [16, 3, 3, 3], 1)).toBe(true);
    expect(sumsFewProducts('Conv', [64, 3, 7, 7], 1)).toBe(false);
    expect(sumsFewProducts('Conv', [16, 8, 1, 1], 1)).toBe(false);
    expect(sumsFewProducts('ConvTranspose', [32, 1, 2, 2], 32)).toBe(true);
    expect(sumsFewProducts('Gemm', [10, 8], 1)).toBe(false);
  });
});

describe('inputRange', () => {
  it('holds the range it was made of, and says the same as inputParams', () => {
    for (const format of [uint8, int8]) {
      for (const [low, high] of [
        [-2.1, 2.64],
        [0, 6],
        [-3, 0],
        [-1e-3, 77],
        [0, 0],
      ] as const) {
        const range = inputRange(core, low, high, format);
        const parameters = inputParams(core, low, high, format);
        expect(core.quantParams(...range, format)).toEqual(parameters);
        expect(roundedUp(parameters.scale, 5)).toBe(parameters.scale);
        const step = parameters.scale;
        expect(range[0]).toBeLessThanOrEqual(low + step / 2);
        expect(range[1]).toBeGreaterThanOrEqual(high - step / 2);
      }
    }
  });
});

describe('sums with scales of few bits', () => {
  it('are the same in any order, in float32', () => {
    const inputScale = inputParams(core, -0.7, 5.3, uint8).scale;
    const scale = weightScale(0.0123);
    // Nine products of a 3 × 3 kernel with large integers of both signs.
    const products = [231, -97, 180, 3, -255, 44, 119, -200, 255].map((x, i) =>
      Math.fround(
        Math.fround(x * inputScale) * Math.fround([127, -5, 90, 33, 101, -127, 64, 7, 1][i]! * scale),
      ),
    );
    const sum = (terms: readonly number[]): number => terms.reduce((a, b) => Math.fround(a + b), 0);
    const forward = sum(products);
    expect(sum([...products].reverse())).toBe(forward);
    expect(sum([...products].sort((a, b) => a - b))).toBe(forward);
  });
});

describe('coveringRange', () => {
  const grid = (low: number, high: number) => core.quantParams(...coveringRange(low, high, uint8), uint8);
  /** Largest distance of the numbers from the grid, in steps. */
  const loss = (values: number[], { scale }: { scale: number }): number =>
    Math.max(...values.map((v) => Math.abs(v / scale - Math.round(v / scale))));

  it('is the grid of the picture where zero is one of its values', () => {
    const values = Array.from({ length: 256 }, (_, p) => (p - 127) / 128);
    const found = grid(values[0]!, values[255]!);
    expect(found).toEqual({ scale: 1 / 128, zeroPoint: 127 });
    expect(loss(values, found)).toBe(0);
  });

  it('does not leave a centred picture in the middle between integers', () => {
    const values = Array.from({ length: 256 }, (_, p) => (p - 127.5) / 127.5);
    const found = grid(-1, 1);
    expect(found.scale).toBeCloseTo(1 / 127, 8);
    const middle = values.filter((v) => Math.abs(Math.abs((v / found.scale) % 1) - 0.5) < 1e-3);
    expect(middle).toEqual([]);
  });

  it('clips neither end', () => {
    for (const [low, high] of [
      [-2.1179, 2.64],
      [-0.001, 5],
      [-9, 0.5],
    ] as const) {
      const { scale, zeroPoint } = grid(low, high);
      expect(-zeroPoint * scale).toBeLessThanOrEqual(low * (1 - 1e-6));
      expect((255 - zeroPoint) * scale).toBeGreaterThanOrEqual(high * (1 - 1e-6));
    }
    expect(coveringRange(0, 255, uint8)).toEqual([0, 255]);
  });
});
