import { describe, expect, it } from 'vitest';
import type { PrecisionSearch } from '../config/precision.js';
import type { Verification } from '../config/verification.js';
import { measured, missedBy, missedWhenScored } from './goal.js';

const scored = (sqnr: number, share: number): Verification =>
  ({
    outputs: [
      { similarity: { sqnr: sqnr + 10 }, agreement: { share: 1 } },
      { similarity: { sqnr }, agreement: { share } },
    ],
    task: null,
  }) as unknown as Verification;

const search = (goal: PrecisionSearch['goal'], reached = true): PrecisionSearch => ({
  ...{ goal, reached, metric: 'same decision', samples: 30, costUnit: 'seconds', chosen: 0 },
  tries: [{ int16: [], float: [], sqnr: 21, drop: 0, cost: 1 }],
});

describe('a goal', () => {
  it('is about the worst output', () => {
    expect(measured(scored(18, 0.96))).toMatchObject({ sqnr: 18, metric: 'same decision' });
    expect(measured(scored(18, 0.96)).drop).toBeCloseTo(4, 9);
  });

  it('in what is lost is not reached where nothing can be lost', () => {
    expect(missedBy({ kind: 'drop', value: 1 }, { sqnr: 40, drop: null })).toBe(Number.POSITIVE_INFINITY);
  });

  it.each([
    [{ kind: 'sqnr', value: 20 } as const, '20 dB were reached on the 30 samples'],
    [{ kind: 'drop', value: 1 } as const, 'the samples that score show 4.00 lost in same decision'],
  ])('reached by luck is told where the samples that score show otherwise: %j', (goal, said) => {
    expect(missedWhenScored(search(goal), scored(18, 0.96))).toContain(said);
    expect(missedWhenScored(search(goal), scored(22, 1))).toBeNull();
    expect(missedWhenScored(search(goal, false), scored(18, 0.96))).toBeNull();
  });
});
