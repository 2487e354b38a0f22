import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { npy } from '../../test/helpers/array-files.js';
import { tokensMetricSchema } from '../config/metric.js';
import { crossEntropy, TokenScorer } from './tokens.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-tokens-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const metric = (settings: object = {}) => tokensMetricSchema.parse({ kind: 'tokens', ...settings });
const ids = (...values: number[]) => {
  const path = join(folder, 'ids.npy');
  writeFileSync(path, npy('<i8', `${values.length},`, BigInt64Array.from(values, BigInt)));
  return { path, row: null };
};
const logits = (...rows: number[][]) => ({
  y: { data: rows.flat(), shape: [1, rows.length, rows[0]!.length], integer: false },
});
const [half, quarter] = [Math.log(0.5), Math.log(0.25)];

describe('crossEntropy', () => {
  it('is the negative logarithm of the softmax, however large the logits', () => {
    expect(crossEntropy([half, quarter, quarter], 0, 3, 1)).toBeCloseTo(Math.log(4), 12);
    expect(crossEntropy([1000 + half, 1000 + half], 0, 2, 0)).toBeCloseTo(Math.log(2), 10);
    expect(crossEntropy([0, Number.NEGATIVE_INFINITY], 0, 2, 0)).toBe(0);
  });
});

describe('TokenScorer', () => {
  const row = [half, quarter, quarter];

  it('adds up nats over all labelled tokens', () => {
    const scorer = new TokenScorer(metric(), ['a'], [ids(0, 1, -100)]);
    scorer.add(0, logits(row, row, row), logits(row, [quarter, half, quarter], row));
    const scores = new Map(scorer.result()!.scores.map((score) => [score.name, score]));
    expect(scores.get('perplexity')!.float).toBeCloseTo(Math.sqrt(2 * 4), 10);
    expect(scores.get('perplexity')).toMatchObject({ unit: '', better: 'lower' });
    expect(scores.get('nats a token')!.quantized).toBeCloseTo(Math.log(2), 10);
    expect(scores.get('token accuracy')).toMatchObject({ float: 50, quantized: 100 });
    // Of all positions, whether they are labelled or not.
    expect(scores.get('same decision')!.quantized).toBeCloseTo(200 / 3, 10);
  });

  it('holds position t against the label at t + 1 where the next token is predicted', () => {
    const scorer = new TokenScorer(metric({ shift: true }), ['a'], [ids(9, 0, 1)]);
    scorer.add(0, logits(row, row, row), logits(row, row, row));
    expect(scorer.result()!.scores[0]!.float).toBeCloseTo(Math.sqrt(2 * 4), 10);
  });

  it('says without labels how often both models agree', () => {
    const scorer = new TokenScorer(metric(), ['a'], null);
    scorer.add(0, logits(row, row), logits(row, [quarter, half, quarter]));
    expect(scorer.result()).toMatchObject({
      against: 'float model',
      scores: [{ name: 'same decision', float: null, quantized: 50 }],
    });
  });

  it.each([
    ['an id that the model does not have', () => ids(0, 3), 'LABEL_RANGE'],
    ['too few ids', () => ids(0), 'LABELS_FORMAT'],
    ['a file that is not there', () => ({ path: '/nowhere.npy', row: 0 }), 'LABELS_UNREADABLE'],
  ])('names %s', (_, file, code) => {
    const labels = file();
    const scorer = new TokenScorer(metric(), ['a'], [labels]);
    expect(() => scorer.add(0, logits(row, row), logits(row, row))).toThrowError(
      expect.objectContaining({ code, place: labels.path }),
    );
  });

  it('refuses NaN and outputs of other shapes', () => {
    const scorer = new TokenScorer(metric(), ['a'], [ids(0)]);
    expect(() => scorer.add(0, logits(row), logits([Number.NaN, 0, 0]))).toThrowError(
      expect.objectContaining({ code: 'METRIC_NOT_FINITE', message: expect.stringContaining('quantized') }),
    );
    const flat = { y: { data: [1, 2], shape: [2], integer: false } };
    expect(() => scorer.add(0, flat, flat)).toThrowError(/\[1, T, vocabulary\]/);
  });
});
