import { describe, expect, it } from 'vitest';
import { preprocessSchema } from '../config/data.js';
import { detectionMetricSchema } from '../config/metric.js';
import { AveragePrecision, matchBoxes } from './average-precision.js';
import { type Box, boxIou, placement, type ScoredBox, suppress, toPicture } from './boxes.js';
import { absolute, DetectionScorer } from './detection.js';
import { decodeYolox } from './yolox.js';

const box = (left: number, top: number, right: number, bottom: number, label = 0): Box => ({
  class: label,
  left,
  top,
  right,
  bottom,
});
const scored = (score: number, at: Box): ScoredBox => ({ ...at, score });
const ONCE = new Uint16Array(8).fill(1);

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

describe('matchBoxes', () => {
  it('gives each true box to the best detection only', () => {
    const truth = box(0, 0, 10, 10);
    // IoU 1, then 1 once more, then 10/11 (right up to .90), of a second true box.
    const detected = [truth, truth, box(20, 0, 31, 10)];
    expect(matchBoxes([truth, box(20, 0, 30, 10)], detected)).toEqual([0b1111111111, 0, 0b0111111111]);
  });
});

describe('AveragePrecision', () => {
  it('agrees with a case worked out by hand', () => {
    // Two true boxes of one class. Sorted: .9 right, .8 wrong, .7 right (IoU 1).
    // Precision 1, 1/2, 2/3 at recall .5, .5, 1: 51 levels (0 to .50) at 1, 50 levels at 2/3.
    const ap = new AveragePrecision();
    ap.add(0, [box(0, 0, 10, 10)], [scored(0.9, box(0, 0, 10, 10)), scored(0.8, box(40, 40, 50, 50))]);
    ap.add(1, [box(5, 5, 9, 9)], [scored(0.7, box(5, 5, 9, 9))]);
    expect(ap.figure()(ONCE)).toBeCloseTo((100 * (51 + 50 * (2 / 3))) / 101, 10);
  });

  it('averages over thresholds and over classes that have true boxes', () => {
    const ap = new AveragePrecision();
    // Class 0 overlaps by 3/4: right at .50 to .75, six of ten thresholds. Class 1 is missed. Class 2 has no truth.
    ap.add(
      0,
      [box(0, 0, 4, 4), box(9, 9, 12, 12, 1)],
      [scored(0.9, box(0, 0, 3, 4)), scored(0.5, box(0, 0, 3, 4, 2))],
    );
    expect(ap.figure()(ONCE)).toBeCloseTo((100 * 0.6) / 2, 10);
    expect(ap.figure([0])(ONCE)).toBeCloseTo(50, 10);
  });

  it('weighs samples', () => {
    const ap = new AveragePrecision();
    ap.add(0, [box(0, 0, 4, 4)], [scored(0.9, box(0, 0, 4, 4))]);
    ap.add(1, [box(0, 0, 4, 4)], []);
    expect(ap.figure()(Uint16Array.of(1, 0))).toBeCloseTo(100, 10);
    expect(ap.figure()(Uint16Array.of(0, 3))).toBe(0);
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

describe('decodeYolox', () => {
  const metric = detectionMetricSchema.parse({ kind: 'detection', classes: 2, strides: [8, 16] });

  it('reads centre, size and score of each cell', () => {
    // Input 16 x 16: four cells of stride 8, one of stride 16. The fourth cell is row 1, column 1.
    const data = new Float32Array(5 * 7);
    data.set([0.5, 0.25, Math.log(2), 0, 0.9, 0.1, 0.8], 3 * 7);
    const [found, ...others] = decodeYolox({ data, shape: [1, 5, 7], integer: false }, metric, [16, 16]);
    expect(others).toEqual([]);
    expect(found!.class).toBe(1);
    expect(found!.score).toBeCloseTo(0.72, 6);
    expect([found!.left, found!.top, found!.right, found!.bottom].map((v) => +v.toFixed(4))).toEqual([
      4, 6, 20, 14,
    ]);
  });

  it('says which shape it expects', () => {
    const output = { data: new Float32Array(7), shape: [1, 1, 7], integer: false };
    expect(() => decodeYolox(output, metric, [16, 16])).toThrowError(/\[1, 5, 7\].*\[1, 1, 7\]/s);
  });

  it('scores quantized boxes against the confident float ones without labels', () => {
    const preprocess = preprocessSchema.parse({ letterbox: { size: 16 } });
    const scorer = new DetectionScorer(metric, preprocess, [{ original: [16, 16], input: [16, 16] }], null);
    const output = new Float32Array(5 * 7);
    output.set([0.5, 0.5, 0, 0, 0.9, 0.9, 0.1], 0);
    output.set([0.5, 0.5, 0, 0, 0.2, 0.9, 0.1], 7);
    const missed = output.slice();
    missed[4] = 0;
    const values = (data: Float32Array) => ({ data, shape: [1, 5, 7], integer: false });
    scorer.add(0, values(output), values(output));
    expect(scorer.result()).toMatchObject({
      against: 'float model',
      scores: [{ float: null, quantized: 100 }, {}],
    });
    const worse = new DetectionScorer(metric, preprocess, [{ original: [16, 16], input: [16, 16] }], null);
    worse.add(0, values(output), values(missed));
    expect(worse.result().scores[0]!.quantized).toBe(0);
  });
});

describe('absolute', () => {
  it('scales shares by the picture', () => {
    expect(absolute({ class: 3, x: 0.5, y: 0.5, width: 0.5, height: 0.2 }, [100, 200])).toEqual(
      box(50, 40, 150, 60, 3),
    );
  });
});
