import { describe, expect, it } from 'vitest';
import type { Group } from '../config/plan.js';
import type { TensorComparison } from '../config/verification.js';
import { blame, noiseRatios } from './blame.js';

const group = (name: string, inputs: string[], output: string): Group => ({
  name,
  kind: 'conv',
  nodes: [name],
  inputs,
  output,
  quantized: true,
  activation: null,
});
const ratios = (values: Record<string, number>): Map<string, number> => new Map(Object.entries(values));

describe('noiseRatios', () => {
  const comparison = (name: string, signal: number, noise: number) =>
    ({ name, signal, noise }) as TensorComparison;

  it('divides noise by signal, and takes noise on silence for as much as signal', () => {
    const found = noiseRatios([comparison('a', 100, 1), comparison('b', 0, 5), comparison('c', 0, 0)]);
    expect([...found]).toEqual([
      ['a', 0.01],
      ['b', 1],
      ['c', 0],
    ]);
  });
});

describe('blame', () => {
  it('takes off the largest noise that arrives', () => {
    const plan = { groups: [group('add', ['a', 'b'], 'c')], activations: [] };
    const found = blame(plan, ratios({ a: 0.1, b: 0.3, c: 0.35 }));
    expect(found.get('c')).toBeCloseTo(0.05, 12);
    expect(found.get('a')).toBe(0.1);
  });

  it('is not negative where an operator heals noise', () => {
    const plan = { groups: [group('pool', ['a'], 'b')], activations: [] };
    expect(blame(plan, ratios({ a: 0.3, b: 0.1 })).get('b')).toBe(0);
  });

  it('looks past tensors that were not measured, and does not run in circles', () => {
    const plan = {
      groups: [group('one', ['a'], 'b'), group('two', ['b', 'c'], 'c'), group('three', ['b'], 'd')],
      activations: [],
    };
    const found = blame(plan, ratios({ a: 0.2, d: 0.25, c: 0.4 }));
    expect(found.get('d')).toBeCloseTo(0.05, 12);
    expect(found.get('c')).toBe(0);
    expect(blame(plan, ratios({ d: 0.25 })).get('d')).toBe(0.25);
  });

  it('knows the producer of a further output from the plan', () => {
    const split = group('split', ['a'], 'first');
    const format = { bits: 8, signed: false, symmetric: false } as const;
    const second = {
      tensor: 'second',
      format,
      range: { kind: 'observed' },
      producer: 'split',
      channelAxis: null,
    } as const;
    const found = blame({ groups: [split], activations: [second] }, ratios({ a: 0.2, second: 0.3 }));
    expect(found.get('second')).toBeCloseTo(0.1, 12);
  });
});
