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
      expect.objectContaining({
        ...expectation,
        found: '0.51 points lower, within what the choice of samples explains',
      }),
    );
    expect(() => requireQuality(comparison, { ...nothing, minSqnr: 25 })).toThrowError(
      expect.objectContaining({ ...expectation, found: '24.31 dB' }),
    );
  });

  it('counts a rise as loss where less is better', () => {
    const { task } = comparison.verification;
    const main = { ...task!.scores[0]!, name: 'perplexity', unit: '' as const, better: 'lower' as const };
    const worse = { ...main, float: 20, quantized: 21.25, interval: null };
    const scored = {
      ...comparison,
      verification: { ...comparison.verification, task: { ...task!, scores: [worse] } },
    };
    requireQuality(scored, { ...nothing, maxDrop: 1.3 });
    expect(() => requireQuality(scored, { ...nothing, maxDrop: 1 })).toThrowError(
      expect.objectContaining({ expected: 'perplexity at most 1 higher', found: '1.25 higher' }),
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
    const lines = summarizeVerification(comparison.verification).split('\n');
    expect(lines.slice(0, 5)).toEqual([
      'AP             35.63 ± 4.02 -> 35.12 ± 4.11 %, difference -0.51 ± 0.43, within what the choice of samples explains',
      'AP50           51.94 ± 4.02 -> 51.20 ± 4.11 %, difference -0.74 ± 0.82, within what the choice of samples explains',
      'AP75           37.35 ± 4.02 -> 37.02 ± 4.11 %, difference -0.33 ± 0.85, within what the choice of samples explains',
      'same decision  94.10 ± 4.11 %',
      'output output  SQNR 24.31 ± 0.21 dB, cosine 0.99813',
    ]);
    expect(summarizeVerification(comparison.verification)).toContain(
      'onnxruntime-node 1.30.0, optimizations disabled',
    );
  });
});
