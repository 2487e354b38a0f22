import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Metric, metricSchema } from '../config/metric.js';
import { chooseMetric } from './choose-metric.js';
import { judgedFirst } from './task.js';

const yolox = metricSchema.parse({ kind: 'detection', classes: 80 });
const choose = (flag?: string, recipe?: Metric, labels = true) => chooseMetric({ flag, recipe, labels });

describe('chooseMetric', () => {
  it('takes the recipe when nothing is named, and classification when there are labels', () => {
    expect(choose(undefined, yolox)).toBe(yolox);
    expect(choose(undefined)).toEqual({ kind: 'classification', topk: [1, 5] });
    expect(choose(undefined, undefined, false)).toBeNull();
  });

  it.each([
    ['top1', { kind: 'classification', topk: [1, 5], judge: 'top-1' }],
    ['Top-3', { kind: 'classification', topk: [1, 3, 5], judge: 'top-3' }],
    ['accuracy', { kind: 'classification', topk: [1] }],
    ['mIoU', { kind: 'segmentation', ignore: [255] }],
    ['pixel-accuracy', { kind: 'segmentation', judge: 'pixel accuracy' }],
    ['AP-yolov8', { kind: 'detection', decode: 'yolov8' }],
    ['face_ap', { kind: 'detection', decode: 'ssd', protocol: 'wider-face' }],
    ['psnr', { kind: 'image', range: [0, 1] }],
    ['perplexity', { kind: 'tokens', shift: false }],
    ['nats', { kind: 'tokens', judge: 'nats a token' }],
  ])('knows %s', (flag, metric) => {
    expect(choose(flag)).toMatchObject(metric);
  });

  it('picks the score of a recipe to judge by', () => {
    expect(choose('ap50', yolox)).toEqual({ ...yolox, judge: 'AP50' });
    expect(choose('ar100', yolox)).toEqual({ ...yolox, judge: 'AR@100' });
    expect(choose('same-decision', yolox, false)).toEqual({ ...yolox, judge: 'same decision' });
    const named = metricSchema.parse({ kind: 'classification', topk: [1], names: ['a', 'b'] });
    expect(choose('top2', named)).toEqual({ ...named, topk: [1, 2], judge: 'top-2' });
  });

  it('keeps the settings of a recipe of the same kind', () => {
    const shifted = metricSchema.parse({ kind: 'tokens', shift: true, ignore: [0] });
    expect(choose('nats', shifted)).toEqual({ ...shifted, judge: 'nats a token' });
    expect(choose('AP-yolov5', yolox)).toEqual({ ...yolox, decode: 'yolov5' });
    expect(choose('perplexity', yolox)).toMatchObject({ kind: 'tokens', shift: false });
  });

  it('says what there is, and what was meant', () => {
    expect(() => choose('AP')).toThrowError(expect.objectContaining({ code: 'METRIC_UNKNOWN', exitCode: 2 }));
    expect(() => choose('top0')).toThrowError(/no metric called top0/);
    expect(() => choose('perplexty')).toThrowError(
      expect.objectContaining({ suggestions: expect.arrayContaining(['Did you mean perplexity?']) }),
    );
  });

  it('asks for labels where nothing can be scored without', () => {
    expect(() => choose('top1', undefined, false)).toThrowError(
      expect.objectContaining({ code: 'METRIC_NO_LABELS', exitCode: 2 }),
    );
    expect(choose('perplexity', undefined, false)).toMatchObject({ kind: 'tokens' });
  });

  it("takes a file of the user's, with the patience of the recipe", () => {
    const folder = mkdtempSync(join(tmpdir(), 'dopt-metric-'));
    try {
      const file = join(folder, 'own.py');
      expect(() => choose(file)).toThrowError(
        expect.objectContaining({ code: 'METRIC_NOT_FOUND', exitCode: 3, place: file }),
      );
      writeFileSync(file, 'def evaluate(outputs, labels): return 1.0\n');
      expect(choose(file, undefined, false)).toEqual({ kind: 'user', file, patience: 120 });
      const recipe = metricSchema.parse({ kind: 'user', file: 'other.py', patience: 3 });
      expect(choose(file, recipe)).toEqual({ kind: 'user', file, patience: 3 });
      expect(choose('loss', recipe)).toEqual({ ...recipe, judge: 'loss' });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('judgedFirst', () => {
  const score = (name: string) => ({
    ...({ name, unit: '%', better: 'higher', float: 1, quantized: 1 } as const),
    standardErrors: null,
    interval: null,
  });
  const scores = ['AP', 'AP50', 'same decision'].map(score);
  const task = { kind: 'detection', against: 'labels', samples: 9, scores } as const;

  it('moves the score to judge by to the front', () => {
    const { task: judged, warnings } = judgedFirst({ ...task, scores: [...scores] }, 'ap50');
    expect(judged.scores.map(({ name }) => name)).toEqual(['AP50', 'AP', 'same decision']);
    expect(warnings).toEqual([]);
  });

  it('warns where it is not there', () => {
    const { task: judged, warnings } = judgedFirst({ ...task, scores: [...scores] }, 'AP small');
    expect(judged.scores).toEqual(scores);
    expect(warnings).toEqual(['The metric has no score AP small here: AP is judged by.']);
  });
});
