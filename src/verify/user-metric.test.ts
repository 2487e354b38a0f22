import { describe, expect, it } from 'vitest';
import type { Result } from '../bridge/protocol.js';
import { draws } from './bootstrap.js';
import { outputFolders, userScores } from './user-metric.js';

type Answer = Result<'userMetric'>;
const answer = (values: Record<string, number>, replicates: Answer['replicates'] = null): Answer => ({
  scores: Object.entries(values).map(([name, value]) => ({ name, value, better: 'higher' })),
  replicates,
  reason: null,
  seconds: 0,
});

describe('userScores', () => {
  it('pairs the scores of both models by name, in the order of the float model', () => {
    const scores = userScores('m.py', answer({ a: 1, b: 2 }), answer({ b: 3, a: 4 }));
    expect(scores).toMatchObject([
      { name: 'a', unit: '', float: 1, quantized: 4, standardErrors: null, interval: null },
      { name: 'b', float: 2, quantized: 3 },
    ]);
  });

  it('takes the spread from draws that both models share', () => {
    const shares = [...draws(40)].map((counts) => counts.subarray(0, 20).reduce((sum, n) => sum + n, 0) / 40);
    const before = shares.map((share) => [0, share]);
    const after = shares.map((share) => [share - 0.1, 0]);
    const float = answer({ a: 0, b: 0.5 }, before);
    const [, b] = userScores('m.py', float, answer({ b: 0.4, a: 0 }, after));
    expect(b!.standardErrors!.float).toBeGreaterThan(0.07);
    expect(b!.standardErrors!.difference).toBeCloseTo(0, 12);
    expect(userScores('m.py', float, answer({ b: 0.4, a: 0 }))[1]!.standardErrors).toBeNull();
  });

  it('refuses other names for the two models', () => {
    for (const names of [{ a: 1 }, { a: 1, c: 2 }] as Record<string, number>[]) {
      expect(() => userScores('m.py', answer({ a: 1, b: 2 }), answer(names))).toThrowError(
        expect.objectContaining({ code: 'METRIC_RESULT', expected: 'a, b', place: 'm.py' }),
      );
    }
  });
});

describe('outputFolders', () => {
  const place = { folder: '/run/verify', run: () => Promise.reject(new Error('not called')) };
  const recorded = { name: 'framework', samples: [] };

  it('are needed unless both models have been run already', () => {
    expect(outputFolders(place, { float: 'a.onnx', quantized: 'b.onnx' })).toEqual({
      float: '/run/verify/float-outputs',
      quantized: '/run/verify/quantized-outputs',
    });
    expect(outputFolders(place, { float: recorded, quantized: recorded })).toBeNull();
  });
});
