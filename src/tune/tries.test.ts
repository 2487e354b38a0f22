import { describe, expect, it } from 'vitest';
import { surelyBetter } from './tries.js';

const SAMPLES = 50;
const signal = Array.from({ length: SAMPLES }, () => [1, 1]);

/** Noise of two outputs in dB below the signal, which differs from sample to sample by up to `spread`. */
const noise = (first: number, second: number, spread = 0): number[][] =>
  signal.map((_, sample) => {
    const off = spread * Math.sin(1 + 7 * sample);
    return [10 ** ((off - first) / 10), 10 ** ((-off - second) / 10)];
  });
const better = (a: number[][], b: number[][]): boolean => surelyBetter({ signal, noise: a }, { noise: b });

describe('surelyBetter', () => {
  it('takes what gains at each output', () => {
    expect(better(noise(30.3, 25.3), noise(30, 25))).toBe(true);
    expect(better(noise(30.3, 25), noise(30, 25))).toBe(true);
  });

  it('refuses a gain within the margin, or within what samples differ by', () => {
    expect(better(noise(30.05, 25.05), noise(30, 25))).toBe(false);
    const uneven = signal.map((_, sample) => [1e-3 * (sample % 2 ? 0.3 : 3), 1e-3]);
    expect(better(uneven, noise(30, 30))).toBe(false);
  });

  it('refuses to pay for one output with another', () => {
    expect(better(noise(29, 29), noise(30, 25))).toBe(false);
    expect(better(noise(29.9, 26), noise(30, 25))).toBe(false);
  });

  it('lets an output lose what its samples cannot tell', () => {
    expect(better(noise(29.99, 26, 1), noise(30, 25))).toBe(true);
  });
});
