import { describe, expect, it } from 'vitest';
import { madeUpRun } from '../../test/report-input.js';
import type { Comparison } from '../config/result.js';
import { comparisonSchema } from '../config/result.js';
import { requireQuality } from './compare.js';
import { summarizeVerification } from './summary.js';

const { result } = madeUpRun(20);
const file = result.model.source;
const comparison: Comparison = {
  version: 1,
  dopt: '0.1.0',
  float: file,
  quantized: file,
  data: result.data.calibration,
  verification: result.verification!,
};
const nothing = { maxDrop: null, minSqnr: null };

describe('requireQuality', () => {
  it('passes what is good enough: 0.51 points lost, 24.31 dB', () => {
    expect(comparisonSchema.parse(comparison)).toEqual(comparison);
    requireQuality(comparison, nothing);
    requireQuality(comparison, { maxDrop: 0.6, minSqnr: 24 });
  });

  it('fails what is not, with exit code 7 and both figures', () => {
    const expectation = { code: 'VERIFICATION_FAILED', exitCode: 7 };
    expect(() => requireQuality(comparison, { ...nothing, maxDrop: 0.5 })).toThrowError(
      expect.objectContaining({ ...expectation, found: '0.51 points lower' }),
    );
    expect(() => requireQuality(comparison, { ...nothing, minSqnr: 25 })).toThrowError(
      expect.objectContaining({ ...expectation, found: '24.31 dB' }),
    );
  });

  it('does not pass a drop that nothing measured', () => {
    const unlabelled = { ...comparison, verification: { ...comparison.verification, task: null } };
    expect(() => requireQuality(unlabelled, { ...nothing, maxDrop: 1 })).toThrowError(
      expect.objectContaining({ code: 'VERIFY_NO_METRIC', exitCode: 2 }),
    );
  });
});

describe('summarizeVerification', () => {
  it('names metric, distance and evaluator', () => {
    expect(summarizeVerification(comparison.verification).split('\n').slice(0, 1)).toEqual([
      'AP             35.63 -> 35.12 %, difference -1.31 to 0.42 (95 %)',
    ]);
    expect(summarizeVerification(comparison.verification)).toContain('SQNR 24.31 dB, cosine 0.99813');
    expect(summarizeVerification(comparison.verification)).toContain(
      'onnxruntime-node 1.30.0, optimizations disabled',
    );
  });
});
