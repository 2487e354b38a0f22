import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { QuantizerAnalysis, Remedy } from '../config/analysis.js';
import { findings } from './findings.js';
import { probeSamples } from './probe-samples.js';
import { relativeNoise } from './probes.js';
import { ranked } from './remedies.js';

describe('the samples to measure on', () => {
  const errors = (ratios: number[]) => ratios.map((ratio) => ({ signal: [1, 4], noise: [ratio, 0] }));

  it('are all when there are few', () => {
    expect(probeSamples(errors([1, 2, 3]), 5)).toEqual([0, 1, 2]);
  });

  it('are the worst and a spread of the others, each once', () => {
    const chosen = probeSamples(errors([0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 0, 7]), 6);
    expect(chosen).toEqual(expect.arrayContaining([2, 6, 11]));
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, noNaN: true }), { maxLength: 80 }),
        fc.integer({ min: 1, max: 20 }),
        (ratios, count) => {
          const found = probeSamples(errors(ratios), count);
          expect(found).toHaveLength(Math.min(count, ratios.length));
          expect([...new Set(found)].sort((a, b) => a - b)).toEqual(found);
        },
      ),
    );
  });
});

describe('noise', () => {
  it('is the mean of the ratios of the outputs that carry a signal', () => {
    expect(relativeNoise([{ signal: 10 }, { signal: 0 }, { signal: 1 }], [1, 5, 0.3])).toBeCloseTo(0.2);
    expect(relativeNoise([{ signal: 0 }], [1])).toBe(0);
  });
});

describe('remedies', () => {
  const tried = (operation: Remedy['operation'], noise: number, flag: string | null = '--flag') => ({
    ...{ operation, noise, flag },
    note: '',
  });
  const order = (...list: ReturnType<typeof tried>[]) => ranked(list, 100).map(({ operation }) => operation);

  it('lead with the cheapest cure, and leave out what does not help', () => {
    expect(
      order(tried('float', 0), tried('int16', 4), tried('calibration', 60), tried('equalization', 97)),
    ).toEqual(['int16', 'float', 'calibration']);
    expect(order(tried('int16', 0), tried('calibration', 5))).toEqual(['calibration', 'int16']);
    expect(order(tried('calibration', 120))).toEqual([]);
  });

  it('prefer what a flag brings about', () => {
    expect(order(tried('equalization', 0, null), tried('int16', 5))).toEqual(['int16', 'equalization']);
  });
});

describe('findings', () => {
  const quantizer = (
    name: string,
    rank: number,
    more: Partial<QuantizerAnalysis> = {},
  ): QuantizerAnalysis => ({
    ...{ kind: 'activation', name, origin: null, bits: 8, share: 0, rank, accumulated: null, remedies: [] },
    solo: { outputs: [50], layer: 50 },
    distribution: null,
    ...more,
  });
  const distribution: NonNullable<QuantizerAnalysis['distribution']> = {
    ...{ low: 0, high: 1, kurtosis: 3, tail: 1, histogram: [], growth: null },
    channels: { count: 4, dead: [], outliers: [] },
  };

  it('name who is to blame with the remedy, the worst first', () => {
    const remedy = { operation: 'int16' as const, flag: '--int16 b', note: '', removes: 0.99 };
    const list = [
      quantizer('a', 2, { share: 0.2, solo: { outputs: [25, 22], layer: null } }),
      quantizer('b', 1, { share: 0.7, solo: { outputs: [4], layer: 30 }, remedies: [remedy] }),
    ];
    expect(findings(list)).toEqual([
      'b brings 70 % of the noise (4.0 dB alone, which is fatal by itself). --int16 b takes 99 % of it away.',
      'a brings 20 % of the noise (22.0 dB alone).',
    ]);
  });

  it('say nothing of what does no harm', () => {
    expect(findings([quantizer('a', 1, { share: 1, distribution })])).toEqual([]);
  });

  it('tell dead and outlier channels, long tails and ranges that grow', () => {
    const odd = (name: string, rank: number) =>
      quantizer(name, rank, {
        distribution: {
          ...distribution,
          tail: 5,
          channels: { count: 4, dead: [1, 2], outliers: [{ channel: 3, ratio: 20.4 }] },
          growth: { points: [], lastDoubling: 0.5 },
        },
      });
    const [tail, outlier, growing, dead] = findings([odd('a', 1), odd('b', 2), odd('c', 3), odd('d', 4)]);
    expect(tail).toMatch(/^a \(5.0 times as far as 99.9 % of them\), b .*, c .* and 1 more have rare values/);
    expect(outlier).toContain('a (channel 3, 20 times)');
    expect(growing).toContain('a (by 50 %)');
    expect(dead).toContain('a (2 of 4)');
    expect(findings([odd('a', 1)])[3]).toMatch(/^a \(2 of 4\) has channels/);
  });
});
