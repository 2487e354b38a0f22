import { describe, expect, it } from 'vitest';
import { AgreementAccumulator, argmaxOverAxis1 } from './agreement.js';
import { jsonNumber, SimilarityAccumulator, sqnr } from './similarity.js';
import { halfToNumber } from './tensors.js';

describe('SimilarityAccumulator', () => {
  it('takes the mean of the cosines and the sum of the energies', () => {
    const sums = new SimilarityAccumulator();
    sums.add([3, 4], [3, 4]);
    sums.add([1, 0], [0, 1]);
    expect(sums.result()).toMatchObject({
      signal: 26,
      noise: 2,
      cosine: 0.5,
      maxAbsoluteError: 1,
      elements: 4,
    });
  });

  it('counts silence as equal to silence', () => {
    const sums = new SimilarityAccumulator();
    sums.add([0, 0], [0, 0]);
    expect(sums.result()).toMatchObject({ sqnr: 'Infinity', cosine: 1 });
  });

  it('leaves out and counts what is not finite in either', () => {
    const sums = new SimilarityAccumulator();
    sums.add([1, Number.NaN, Infinity, Infinity, 2], [1, 1, Infinity, 0, Number.NaN]);
    expect(sums.result()).toMatchObject({ nonFinite: 4, elements: 1, signal: 1, noise: 0 });
  });
});

describe('sqnr', () => {
  it('is ten per decade of energy', () => {
    expect(sqnr(1000, 1)).toBeCloseTo(30, 12);
    expect(jsonNumber(sqnr(0, 1))).toBe('-Infinity');
    expect(jsonNumber(Number.NaN)).toBe('NaN');
  });
});

describe('argmaxOverAxis1', () => {
  it('takes the first of equal values and never NaN', () => {
    // [1, 3, 2]: columns are (1, 5, 5) and (NaN, -2, -3).
    expect([...argmaxOverAxis1([1, Number.NaN, 5, -2, 5, -3], 3, 2)]).toEqual([1, 1]);
  });
});

describe('AgreementAccumulator', () => {
  const values = (data: number[], shape: number[], integer = false) => ({ data, shape, integer });

  it('compares rows, pixels and integers, and nothing else', () => {
    const rows = new AgreementAccumulator();
    rows.add(values([1, 2, 2, 1], [2, 2]), values([1, 2, 1, 2], [2, 2]));
    expect(rows.result()).toEqual({ over: 'rows', share: 0.5, count: 2, standardError: null });

    const pixels = new AgreementAccumulator();
    pixels.add(values([1, 0, 0, 1], [1, 2, 1, 2]), values([1, 1, 0, 0], [1, 2, 1, 2]));
    expect(pixels.result()).toEqual({ over: 'pixels', share: 0.5, count: 2, standardError: null });

    const elements = new AgreementAccumulator();
    elements.add(values([7, 8, 9], [3], true), values([7, 8, 0], [3], true));
    expect(elements.result()).toEqual({ over: 'elements', share: 2 / 3, count: 3, standardError: null });

    const none = new AgreementAccumulator();
    none.add(values([1, 2, 3, 4], [1, 2, 2]), values([1, 2, 3, 4], [1, 2, 2]));
    expect(none.result()).toBeNull();
  });

  it('finds the classes of pixels in the layout of the pictures', () => {
    const channelsLast = new AgreementAccumulator('nhwc');
    channelsLast.add(values([1, 0, 0, 1], [1, 1, 2, 2]), values([1, 0, 1, 0], [1, 1, 2, 2]));
    expect(channelsLast.result()).toMatchObject({ over: 'pixels', share: 0.5, count: 2 });
    const gray = new AgreementAccumulator('nhwc');
    gray.add(values([1, 2], [1, 2, 1, 1]), values([1, 2], [1, 2, 1, 1]));
    expect(gray.result()).toMatchObject({ over: 'rows' });
  });

  it('has a standard error over samples', () => {
    const rows = new AgreementAccumulator();
    for (let i = 0; i < 16; i++) rows.add(values([1, 2], [1, 2]), values(i % 4 ? [1, 2] : [2, 1], [1, 2]));
    // A share of 3/4 of 16: √(¾ · ¼ / 15).
    expect(rows.result()!.standardError).toBeCloseTo(Math.sqrt(0.1875 / 15), 12);
  });
});

describe('halfToNumber', () => {
  it('decodes normal, subnormal and special halves', () => {
    expect([0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0xfc00].map(halfToNumber)).toEqual([
      1,
      -2,
      2 ** -24,
      65504,
      Infinity,
      -Infinity,
    ]);
    expect(halfToNumber(0x7e00)).toBeNaN();
  });
});
