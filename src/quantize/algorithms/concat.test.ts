import { describe, expect, it } from 'vitest';
import { type ConcatInput, tyingPays } from './concat.js';

/** Uniform noise of an 8-bit grid over a range. */
const noise = (width: number): number => (width / 255) ** 2 / 12;

const input = (width: number, union: number, readElsewhere: boolean): ConcatInput => ({
  range: { low: 0, high: width },
  count: 100,
  power: (100 * width ** 2) / 3,
  ownError: noise(width),
  unionError: noise(union),
  readElsewhere,
});

describe('tyingPays', () => {
  it('ties inputs of like ranges', () => {
    const inputs = [input(6, 6.5, false), input(6.5, 6.5, true)];
    expect(tyingPays(inputs, { low: 0, high: 6.5 }, 6.5 / 255).tied).toBe(true);
  });

  it('ties a narrow input that only the concat reads: the output grid is as coarse anyway', () => {
    const inputs = [input(1, 640, false), input(640, 640, false)];
    expect(tyingPays(inputs, { low: 0, high: 640 }, 640 / 255).tied).toBe(true);
  });

  it('never ties unlike ranges when the narrow one is read elsewhere', () => {
    const inputs = [input(1, 640, true), input(640, 640, false)];
    const { tied, reason } = tyingPays(inputs, { low: 0, high: 640 }, 640 / 255);
    expect(tied).toBe(false);
    expect(reason).toMatch(/640 times narrower/);
  });

  it('requantizes when the common range would cost the other readers more than a second rounding', () => {
    const inputs = [input(2, 8, true), input(8, 8, false)];
    // The output's own clip is much tighter than the union here, so going through it is cheap.
    expect(tyingPays(inputs, { low: 0, high: 8 }, 1 / 255).tied).toBe(false);
  });

  it('ignores inputs that are all zero', () => {
    expect(tyingPays([{ ...input(1, 1, false), power: 0 }], { low: 0, high: 1 }, 1).tied).toBe(true);
  });
});
