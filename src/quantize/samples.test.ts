import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pickSamples, splitSamples } from './samples.js';

describe('splitSamples', () => {
  it('never scores on a sample that calibrates, and uses indices that exist', () => {
    fc.assert(
      fc.property(fc.nat(500), fc.integer({ min: 1, max: 400 }), fc.nat(), (total, wanted, seed) => {
        const { calibration, verification } = splitSamples(total, wanted, seed);
        const all = [...calibration, ...verification];
        expect(new Set(all).size).toBe(all.length);
        expect(all.every((index) => index >= 0 && index < total)).toBe(true);
        expect(calibration.length).toBeLessThanOrEqual(wanted);
        if (total >= 2) expect(Math.min(calibration.length, verification.length)).toBeGreaterThan(0);
      }),
    );
  });

  it('is decided by the seed', () => {
    expect(splitSamples(100, 50, 7)).toEqual(splitSamples(100, 50, 7));
    expect(splitSamples(100, 50, 7)).not.toEqual(splitSamples(100, 50, 8));
  });

  it('keeps nothing back from a single sample', () => {
    expect(splitSamples(1, 200, 0)).toEqual({ calibration: [0], verification: [] });
  });
});

describe('pickSamples', () => {
  it('takes all when there are not more than asked for', () => {
    expect(pickSamples(3, 10, 1)).toEqual([0, 1, 2]);
  });
});
