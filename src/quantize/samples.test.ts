import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pickSamples, splitSamples } from './samples.js';

const split = (total: number, calibration: number, seed = 0, tuning = 0) =>
  splitSamples(total, { calibration, tuning }, seed);

describe('splitSamples', () => {
  it('gives a sample one part only, and uses indices that exist', () => {
    const counts = [fc.nat(500), fc.integer({ min: 1, max: 400 }), fc.nat(), fc.nat(100)] as const;
    fc.assert(
      fc.property(...counts, (total, wanted, seed, tuned) => {
        const { calibration, tuning, whole, verification } = split(total, wanted, seed, tuned);
        const all = [...calibration, ...tuning, ...verification];
        expect(new Set(all).size).toBe(all.length);
        expect(all.every((index) => index >= 0 && index < total)).toBe(true);
        expect(calibration.length).toBeLessThanOrEqual(wanted);
        expect(whole.filter((index) => verification.includes(index))).toEqual([]);
        if (tuned === 0) expect(whole).toEqual(calibration);
        expect(tuning.length).toBeLessThanOrEqual(tuned);
        if (total >= (tuned > 0 ? 3 : 2))
          expect(Math.min(calibration.length, verification.length)).toBeGreaterThan(0);
        if (total >= 3 && tuned > 0) expect(tuning.length).toBeGreaterThan(0);
      }),
    );
  });

  it('is decided by the seed', () => {
    expect(split(100, 50, 7)).toEqual(split(100, 50, 7));
    expect(split(100, 50, 7)).not.toEqual(split(100, 50, 8));
  });

  it('keeps nothing back from a single sample', () => {
    expect(split(1, 200)).toEqual({ calibration: [0], tuning: [], whole: [0], verification: [] });
  });

  it('tunes with samples that nothing else asks for, and takes from calibration only where there are none', () => {
    const without = split(400, 200);
    expect(split(400, 200, 0, 64)).toMatchObject({
      calibration: without.calibration,
      verification: without.verification,
    });
    const scarce = split(100, 200, 0, 64);
    expect(scarce.whole).toEqual(split(100, 200).calibration);
    expect(scarce.verification).toEqual(split(100, 200).verification);
    expect([scarce.calibration.length, scarce.tuning.length]).toEqual([57, 18]);
  });

  it('scores nothing where another source is scored', () => {
    const { calibration, verification } = splitSamples(100, { calibration: 30, tuning: 0 }, 3, false);
    expect(calibration).toEqual(pickSamples(100, 30, 3));
    expect(verification).toEqual([]);
  });
});

describe('pickSamples', () => {
  it('takes all when there are not more than asked for', () => {
    expect(pickSamples(3, 10, 1)).toEqual([0, 1, 2]);
  });
});
