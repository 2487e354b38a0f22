import { describe, expect, it } from 'vitest';
import { equalizingScales, type RoundedTensor, type RoundedWeights } from './equalization.js';

const tensor = (widths: number[], importance = widths.map(() => 1)): RoundedTensor => ({
  sets: Int32Array.from(widths, (_, i) => i + 1),
  widths: Float64Array.from(widths),
  importance: Float64Array.from(importance),
  levels: 255,
});
const layer = (largest: number[], more: Partial<RoundedWeights>): RoundedWeights => ({
  inputs: Int32Array.of(0, 0),
  outputs: Int32Array.of(0, 0),
  power: Float64Array.of(1, 1),
  importance: Float64Array.of(1, 1),
  largest: Float32Array.from(largest),
  groups: 1,
  taps: 1,
  common: false,
  limit: 127,
  ...more,
});
const free = (sets: number): Float64Array => new Float64Array(sets).fill(1e-6);

describe('equalizing scales', () => {
  it('bring the ranges of a tensor together when nothing else is rounded', () => {
    const widths = [100, 1, 10];
    const s = equalizingScales({ sets: 4, tensors: [tensor(widths)], layers: [], least: free(4) });
    const noise = (scales: number[]): number =>
      Math.max(...widths.map((width, i) => width / scales[i]!)) ** 2 *
      scales.reduce((sum, each) => sum + each ** 2, 0);
    expect(noise([...s.slice(1)]) / noise(widths)).toBeLessThan(1.05);
  });

  it('leave the set that is not scaled at 1, and others at what they must at least be', () => {
    const rounded = { ...tensor([8, 1]), sets: Int32Array.of(0, 1) };
    const s = equalizingScales({ sets: 2, tensors: [rounded], layers: [], least: Float64Array.of(0, 0.5) });
    expect([...s]).toEqual([1, expect.closeTo(0.5, 5)]);
  });

  it('bring outputs of weights with one scale together, and do nothing where each has its own', () => {
    const weights = layer([1, 1, 0.01, 0.01], { outputs: Int32Array.of(1, 2), common: true });
    const problem = { sets: 3, tensors: [], least: free(3) };
    const s = equalizingScales({ ...problem, layers: [weights] });
    expect(s[1]! / s[2]!).toBeGreaterThan(30);
    const own = equalizingScales({ ...problem, layers: [{ ...weights, common: false }] });
    expect(own[1]! / own[2]!).toBeCloseTo(1);
  });

  it('shrink the weights of an input that hardly carries anything', () => {
    const weights = layer([1, 100, 1, 100], { inputs: Int32Array.of(1, 2), power: Float64Array.of(1, 1e-6) });
    const s = equalizingScales({ sets: 3, tensors: [], layers: [weights], least: free(3) });
    expect(s[2]! / s[1]!).toBeLessThan(0.02);
  });

  it('weigh what is won in a tensor against what is lost in the weights behind it', () => {
    const weights = layer([1, 1, 1, 1], { inputs: Int32Array.of(1, 2), power: Float64Array.of(100, 1) });
    const s = equalizingScales({
      sets: 3,
      tensors: [tensor([30, 3])],
      layers: [weights],
      least: free(3),
    });
    expect(s[1]! / s[2]!).toBeGreaterThan(1.5);
    expect(s[1]! / s[2]!).toBeLessThan(10);
  });
});
