import { describe, expect, it } from 'vitest';
import { classificationMetricSchema } from '../config/metric.js';
import { ClassificationScorer, labelRank } from './classification.js';

describe('labelRank', () => {
  it('breaks ties towards the lower class and puts NaN last', () => {
    expect([0, 1, 2].map((label) => labelRank([5, 5, 7], label))).toEqual([1, 2, 0]);
    expect(labelRank([1, Number.NaN, 0], 1)).toBe(3);
  });
});

describe('ClassificationScorer', () => {
  const row = (...data: number[]) => ({ y: { data, shape: [1, data.length], integer: false } });

  it('scores top-k of both models with standard errors from eight samples on', () => {
    const metric = classificationMetricSchema.parse({ kind: 'classification', topk: [1, 2] });
    const labels = Array.from({ length: 40 }, (_, i) => i % 2);
    const scorer = new ClassificationScorer(metric, labels, labels.map(String));
    // The float model always says 0, then 1, then 2; the quantized one 2, then 0, then 1.
    labels.forEach((_, i) => {
      scorer.add(i, row(3, 2, 1), row(2, 1, 3));
    });
    const [top1, top2] = scorer.result().scores;
    expect(top1).toMatchObject({ name: 'top-1', unit: '%', better: 'higher', float: 50, quantized: 0 });
    expect(top2).toMatchObject({ name: 'top-2', float: 100, quantized: 50 });
    // A share of one half of 40: standard error 7.9 points.
    expect(top1!.standardErrors!.float).toBeGreaterThan(6.5);
    expect(top1!.standardErrors!.float).toBeLessThan(9.5);
    expect(top1!.standardErrors!.quantized).toBe(0);
    expect(top1!.interval![1]).toBeLessThan(0);
  });
});
