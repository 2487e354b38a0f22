import { describe, expect, it } from 'vitest';
import { preprocessSchema } from '../config/data.js';
import { detectionMetricSchema } from '../config/metric.js';
import { type Box, boxIou, placement, type ScoredBox, suppress, toPicture, toTruth } from './boxes.js';
import { DetectionScorer } from './detection.js';

const box = (left: number, top: number, right: number, bottom: number, label = 0): Box => ({
  class: label,
  left,
  top,
  right,
  bottom,
});
const scored = (score: number, at: Box): ScoredBox => ({ ...at, score });

describe('boxIou', () => {
  it('is the shared area over the joint area', () => {
    expect(boxIou(box(0, 0, 10, 10), box(5, 0, 15, 10))).toBeCloseTo(1 / 3, 12);
    expect(boxIou(box(0, 0, 10, 10), box(10, 0, 20, 10))).toBe(0);
  });
});

describe('suppress', () => {
  it('drops overlapping boxes of one class only, and keeps the best', () => {
    const boxes = [
      scored(0.5, box(0, 0, 10, 10)),
      scored(0.9, box(1, 0, 11, 10)),
      scored(0.4, box(0, 0, 10, 10, 1)),
      scored(0.1, box(50, 0, 60, 10)),
    ];
    expect(suppress(boxes, 0.65, 100).map(({ score }) => score)).toEqual([0.9, 0.4, 0.1]);
    expect(suppress(boxes, 0.65, 1)).toHaveLength(1);
  });
});

describe('placement', () => {
  const settings = (input: object) => preprocessSchema.parse(input);

  it('undoes a letterbox at the corner and in the centre', () => {
    // 100 x 200 into 64 x 64: scale .32, 32 rows of picture.
    const corner = placement(settings({ letterbox: { size: 64 } }), [100, 200], [64, 64]);
    expect(toPicture(box(0, 0, 64, 32), corner, [100, 200])).toMatchObject({
      left: 0,
      right: 200,
      bottom: 100,
    });
    const center = placement(settings({ letterbox: { size: 64, align: 'center' } }), [100, 200], [64, 64]);
    expect(toPicture(box(32, 16, 70, 48), center, [100, 200])).toMatchObject({
      left: 100,
      top: 0,
      right: 200,
      bottom: 100,
    });
  });

  it('undoes a stretch and refuses a crop', () => {
    const stretched = placement(settings({ resize: [50, 50] }), [100, 200], [50, 50]);
    expect(toPicture(box(5, 5, 10, 10), stretched, [100, 200])).toMatchObject({
      left: 20,
      top: 10,
      right: 40,
      bottom: 20,
    });
    expect(() => placement(settings({ crop: 50 }), [100, 200], [50, 50])).toThrowError(/cropped/);
  });
});

describe('toTruth', () => {
  const label = { class: 3, x: 0.25, y: 0.5, width: 0.5, height: 0.25, area: null, ignored: false };

  it('scales shares by the picture and keeps pixels', () => {
    expect(toTruth({ ...label, unit: 'share' }, [100, 200])).toEqual({
      ...box(50, 50, 150, 75, 3),
      area: 2500,
      ignored: false,
    });
    const pixels = { ...label, x: 10, y: 20, width: 30, height: 40, area: 7, unit: 'pixel' as const };
    expect(toTruth(pixels, [100, 200])).toEqual({ ...box(10, 20, 40, 60, 3), area: 7, ignored: false });
  });
});

describe('DetectionScorer', () => {
  const metric = detectionMetricSchema.parse({ kind: 'detection', classes: 2, strides: [8, 16] });
  const preprocess = preprocessSchema.parse({ letterbox: { size: 16 } });
  const pictures = [{ name: 'a.jpg', original: [16, 16] as const, input: [16, 16] as const }];
  const output = (...cells: number[][]) => {
    const data = new Float32Array(5 * 7);
    for (const [i, cell] of cells.entries()) data.set(cell, i * 7);
    return { output: { data, shape: [1, 5, 7], integer: false } };
  };
  const sure = [0.5, 0.5, 0, 0, 0.9, 0.9, 0.1];
  const unsure = [0.5, 0.5, 0, 0, 0.2, 0.9, 0.1];

  it('holds quantized boxes against the confident float ones where there are no labels', () => {
    const scorer = new DetectionScorer(metric, preprocess, pictures, null);
    scorer.add(0, output(sure, unsure), output(sure, unsure));
    expect(scorer.result()).toMatchObject({
      against: 'float model',
      scores: [{ name: 'same decision', unit: '%', float: null }],
    });
    expect(scorer.result()!.scores[0]!.quantized).toBeCloseTo(100, 10);
    const worse = new DetectionScorer(metric, preprocess, pictures, null);
    worse.add(0, output(sure, unsure), output([...sure.slice(0, 4), 0, 0.9, 0.1]));
    expect(worse.result()!.scores[0]!.quantized).toBe(0);
  });

  it('lets a model agree with itself that is sure of more boxes than are looked at', () => {
    const size = [128, 128] as const;
    const scorer = new DetectionScorer(
      metric,
      preprocessSchema.parse({}),
      [{ name: 'a', original: size, input: size }],
      null,
    );
    // A box in each cell of strides 8 and 16, which overlap too little to be suppressed: 320 of one class.
    const cells = Array.from({ length: 256 + 64 }, () => [0.5, 0.5, -1, -1, 0.9, 0.9, 0.1]).flat();
    const outputs = { output: { data: Float32Array.from(cells), shape: [1, 320, 7], integer: false } };
    scorer.add(0, outputs, outputs);
    expect(scorer.result()!.scores[0]!.quantized).toBeCloseTo(100, 10);
  });

  it('has nothing to say of pictures in which the float model is sure of nothing', () => {
    const scorer = new DetectionScorer(metric, preprocess, pictures, null);
    scorer.add(0, output(unsure), output(sure));
    expect(scorer.result()).toBeNull();
  });

  it('scores both models against labels, and their agreement', () => {
    // The first cell of stride 8 is a box of 8 x 8 around (4, 4).
    const labels = [[{ class: 0, x: 0, y: 0, width: 8, height: 8, area: null, ignored: false }]];
    const pixels = labels.map((boxes) => boxes.map((one) => ({ ...one, unit: 'pixel' as const })));
    const scorer = new DetectionScorer(metric, preprocess, pictures, pixels);
    scorer.add(0, output(sure), output([0.25, 0.5, 0, 0, 0.9, 0.9, 0.1]));
    const { against, scores } = scorer.result()!;
    expect(against).toBe('labels');
    const byName = new Map(scores.map((score) => [score.name, score]));
    expect(byName.get('AP')!.float).toBeCloseTo(100, 10);
    // Two pixels of eight to the left and cut off there: IoU 6 · 8 / 64 = .75, right at six of ten thresholds.
    expect(byName.get('AP')!.quantized).toBeCloseTo(60, 10);
    expect(byName.get('AP50')!.quantized).toBeCloseTo(100, 10);
    expect(byName.get('same decision')).toMatchObject({ float: null });
    expect(byName.get('same decision')!.quantized).toBeCloseTo(60, 10);
    expect(byName.has('AP large')).toBe(false);
  });

  it('names a label that the model has no class for', () => {
    const label = { class: 2, x: 0, y: 0, width: 8, height: 8, area: null, ignored: false };
    const open = { ...metric, classes: undefined };
    const scorer = new DetectionScorer(open, preprocess, pictures, [[{ ...label, unit: 'pixel' }]]);
    expect(() => scorer.add(0, output(sure), output(sure))).toThrowError(
      expect.objectContaining({ code: 'LABEL_RANGE', message: expect.stringContaining('a.jpg') }),
    );
  });

  it('measures faces by their own protocol', () => {
    const face = detectionMetricSchema.parse({
      kind: 'detection',
      decode: 'ssd',
      protocol: 'wider-face',
      classes: 1,
    });
    const values = (data: number[], shape: number[]) => ({ data, shape, integer: false });
    const outputs = {
      scores: values([0.1, 0.9, 0.8, 0.2], [1, 2, 2]),
      boxes: values([0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1], [1, 2, 4]),
    };
    const label = { class: 0, x: 0, y: 0, width: 8, height: 8, area: null, ignored: false };
    const scorer = new DetectionScorer(face, preprocessSchema.parse({ resize: [16, 16] }), pictures, [
      [{ ...label, unit: 'pixel' }],
    ]);
    scorer.add(0, outputs, outputs);
    expect(scorer.result()!.scores.map(({ name, float }) => [name, float])).toEqual([
      ['face AP', 100],
      ['same decision', null],
    ]);
  });
});
