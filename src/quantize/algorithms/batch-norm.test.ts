import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { foldBatchNorm } from './batch-norm.js';

describe('foldBatchNorm', () => {
  it('computes what layer and normalization compute one after the other', () => {
    const value = fc.double({ min: -3, max: 3, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 6, maxLength: 6 }),
        fc.array(value, { minLength: 3, maxLength: 3 }),
        fc.array(value, { minLength: 8, maxLength: 8 }),
        (w, x, p) => {
          const weight = Float32Array.from(w);
          const parameters = {
            gamma: Float32Array.of(p[0]!, -Math.abs(p[1]!)),
            beta: Float32Array.of(p[2]!, p[3]!),
            mean: Float32Array.of(p[4]!, p[5]!),
            variance: Float32Array.of(p[6]! ** 2, p[7]! ** 2),
            epsilon: 1e-3,
          };
          const bias = Float32Array.of(0.5, -0.25);
          const folded = foldBatchNorm(weight, bias, (i) => Math.floor(i / 3), parameters);
          for (const c of [0, 1]) {
            const dot = (from: Float32Array): number =>
              x.reduce((sum, xi, i) => sum + xi * from[c * 3 + i]!, 0);
            const { gamma, beta, mean, variance, epsilon } = parameters;
            const gain = gamma[c]! / Math.sqrt(variance[c]! + epsilon);
            const expected = (dot(weight) + bias[c]! - mean[c]!) * gain + beta[c]!;
            expect(dot(folded.weight) + folded.bias[c]!).toBeCloseTo(expected, 2);
          }
        },
      ),
    );
  });
});
