import { describe, expect, it } from 'vitest';
import { type DetectionMetric, detectionMetricSchema } from '../../config/metric.js';
import type { ScoredBox, Size } from '../boxes.js';
import { DECODERS } from './index.js';
import { priorBoxes } from './priors.js';

type Settings = Partial<Omit<DetectionMetric, 'ssd' | 'gfl'>> & { ssd?: object; gfl?: object };

const values = (data: ArrayLike<number>, shape: number[]) => ({ data, shape, integer: false });
const decode = (
  settings: Settings & { decode: DetectionMetric['decode'] },
  outputs: Record<string, ReturnType<typeof values>>,
  input: Size = [16, 16],
) => {
  const metric = detectionMetricSchema.parse({ kind: 'detection', ...settings });
  return DECODERS[settings.decode].decode(outputs, metric, input);
};
/** [class, score, left, top, right, bottom] with four digits. */
const rows = (boxes: readonly ScoredBox[]): number[][] =>
  boxes.map((box) =>
    [box.class, box.score, box.left, box.top, box.right, box.bottom].map((v) => Number(v.toFixed(4)) + 0),
  );
const wrong = (pattern: RegExp) =>
  expect.objectContaining({ code: 'METRIC_OUTPUT', message: expect.stringMatching(pattern) });

describe('yolox', () => {
  const settings = { decode: 'yolox' as const, strides: [8, 16] };

  it('reads centre, size and score of each cell', () => {
    // Input 16 x 16: four cells of stride 8, one of stride 16. The fourth cell is row 1, column 1.
    const data = new Float32Array(5 * 7);
    data.set([0.5, 0.25, Math.log(2), 0, 0.9, 0.1, 0.8], 3 * 7);
    const { boxes, classes } = decode(settings, { y: values(data, [1, 5, 7]) });
    expect(classes).toBe(2);
    expect(rows(boxes)).toEqual([[1, 0.72, 4, 6, 20, 14]]);
  });

  it('says which shape it expects', () => {
    const outputs = { y: values(new Float32Array(7), [1, 1, 7]) };
    expect(() => decode({ ...settings, classes: 2 }, outputs)).toThrowError(
      wrong(/\[1, 5, 7\].*\[1, 1, 7\]/s),
    );
    expect(() => decode(settings, outputs)).toThrowError(wrong(/\[1, 5, 5 \+ classes\]/));
  });

  it('drops what is no number', () => {
    const data = new Float32Array(5 * 7).fill(Number.NaN);
    expect(decode(settings, { y: values(data, [1, 5, 7]) }).boxes).toEqual([]);
  });
});

describe('yolov5', () => {
  it('counts a box for every class that reaches the threshold', () => {
    const data = [8, 6, 4, 2, 0.5, 0.8, 0.4, ...[1, 1, 1, 1, 0.0001, 1, 1]];
    const { boxes, classes } = decode({ decode: 'yolov5' }, { y: values(data, [1, 2, 7]) });
    expect(classes).toBe(2);
    expect(rows(boxes)).toEqual([
      [0, 0.4, 6, 5, 10, 7],
      [1, 0.2, 6, 5, 10, 7],
    ]);
  });

  it('says which shape it expects', () => {
    const outputs = { y: values(new Float32Array(14), [1, 2, 7]) };
    expect(() => decode({ decode: 'yolov5', classes: 80 }, outputs)).toThrowError(wrong(/\[1, boxes, 85\]/));
  });
});

describe('yolov8', () => {
  // Fields one after the other: x, y, width, height, two classes; three boxes.
  const data = [...[8, 1, 1], ...[6, 1, 1], ...[4, 1, 1], ...[2, 1, 1], ...[0.8, 0, 0.25], ...[0.4, 0, 0]];

  it('reads boxes column by column', () => {
    const { boxes, classes } = decode({ decode: 'yolov8' }, { y: values(data, [1, 6, 3]) });
    expect(classes).toBe(2);
    expect(rows(boxes)).toEqual([
      [0, 0.8, 6, 5, 10, 7],
      [0, 0.25, 0.5, 0.5, 1.5, 1.5],
      [1, 0.4, 6, 5, 10, 7],
    ]);
  });

  it('passes over what follows the classes', () => {
    const { boxes } = decode({ decode: 'yolov8', classes: 1 }, { y: values(data, [1, 6, 3]) });
    expect(rows(boxes).map(([label]) => label)).toEqual([0, 0]);
    expect(() => decode({ decode: 'yolov8', classes: 3 }, { y: values(data, [1, 6, 3]) })).toThrowError(
      wrong(/\[1, 7, boxes\]/),
    );
  });
});

describe('ssd', () => {
  const scores = values([0.1, 0.9, 0.95, 0.05], [1, 2, 2]);
  const boxes = values([0.25, 0.5, 0.75, 1, 0, 0, 1, 1], [1, 2, 4]);

  it('tells boxes from scores and leaves the background out', () => {
    const found = decode({ decode: 'ssd' }, { scores, boxes }, [100, 200]);
    expect(found.classes).toBe(1);
    expect(rows(found.boxes)).toEqual([
      [0, 0.9, 50, 50, 150, 100],
      [0, 0.05, 0, 0, 200, 100],
    ]);
  });

  it('reads other orders, pixels, and classes without a background', () => {
    const swapped = decode({ decode: 'ssd', ssd: { order: 'yxyx' } }, { scores, boxes }, [100, 200]);
    expect(rows(swapped.boxes)[0]).toEqual([0, 0.9, 100, 25, 200, 75]);
    const centres = { order: 'cxcywh', unit: 'pixel', background: false };
    const pixels = decode({ decode: 'ssd', ssd: centres, scoreThreshold: 0.5 }, { boxes, scores });
    expect(pixels.classes).toBe(2);
    expect(rows(pixels.boxes)).toEqual([
      [1, 0.9, -0.125, 0, 0.625, 1],
      [0, 0.95, -0.5, -0.5, 0.5, 0.5],
    ]);
  });

  it('takes outputs by name where shapes do not tell', () => {
    const four = values([0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0], [1, 2, 4]);
    const named = { boxes: 'b', scores: 'a' };
    const found = decode({ decode: 'ssd', ssd: named, scoreThreshold: 0.35 }, { a: four, b: boxes });
    expect(rows(found.boxes).map(([label, score]) => [label, score])).toEqual([[2, 0.4]]);
  });

  it('corrects priors where the boxes are no boxes yet', () => {
    // Input 16 x 32: one cell of stride 32 with sides 8 and 64; 64 is cut to the whole input.
    const priors = { strides: [32], sizes: [[8, 64]] };
    // Centre (16, 16) of 32 x 32 pixels is (1/2, 1 and cut to 1) of 16 x 32.
    const offsets = values([1, -2, 0, Math.log(2) / 0.2, 0, 0, 0, 0], [1, 2, 4]);
    const found = decode({ decode: 'ssd', ssd: { priors } }, { scores, boxes: offsets }, [16, 32]);
    // Moved by .1 · 1 · 8 and −.1 · 2 · 8 pixels, twice as high.
    expect(rows(found.boxes)).toEqual([
      [0, 0.9, 16.8 - 4, 16 - 1.6 - 8, 16.8 + 4, 16 - 1.6 + 8].map((v) => Number(v.toFixed(4)) + 0),
      [0, 0.05, 0, 8, 32, 24],
    ]);
    expect(() =>
      decode({ decode: 'ssd', ssd: { priors } }, { scores, boxes: offsets }, [64, 64]),
    ).toThrowError(wrong(/make \[1, 8, 4\] of an input of 64 x 64/));
  });

  it('says what is missing', () => {
    expect(() => decode({ decode: 'ssd' }, { scores })).toThrowError(wrong(/boxes \[1, boxes, 4\]/));
    expect(() => decode({ decode: 'ssd', ssd: { boxes: 'x' } }, { scores, boxes })).toThrowError(
      wrong(/no output x/),
    );
    expect(() => decode({ decode: 'ssd', classes: 3 }, { scores, boxes })).toThrowError(wrong(/\[1, 2, 4\]/));
  });
});

describe('gfl', () => {
  // Input 16 x 24 with strides 8 and 16: cells 2 x 3 and 1 x 2, the last of each row cut at the edge.
  const settings = { decode: 'gfl' as const, strides: [8, 16], gfl: { bins: 3 } };
  const size: Size = [16, 24];
  /** Distributions that are sure of their bins. */
  const sides = (...bins: number[]): number[] =>
    bins.flatMap((bin) => [0, 1, 2].map((i) => (i === bin ? 50 : 0)));
  const nowhere = [0, 0, ...sides(0, 0, 0, 0)];
  const joined = [
    ...Array.from({ length: 5 }, () => nowhere).flat(),
    // Row 1, column 2 of the first grid; column 1 of the second.
    ...[0.9, 0, ...sides(1, 0, 2, 1)],
    ...nowhere,
    ...[0, 0.8, ...sides(0, 0, 1, 2)],
  ];

  it('reads sides as expected distances from the cell', () => {
    const { boxes, classes } = decode(settings, { y: values(joined, [1, 8, 14]) }, size);
    expect(classes).toBe(2);
    expect(rows(boxes)).toEqual([
      [0, 0.9, 8, 8, 32, 16],
      [1, 0.8, 16, 0, 32, 32],
    ]);
    const middle = { ...settings, gfl: { bins: 3, cellOffset: 0.5 } };
    expect(rows(decode(middle, { y: values(joined, [1, 8, 14]) }, size).boxes)[0]).toEqual([
      ...[0, 0.9, 12, 12, 36, 20],
    ]);
  });

  it('takes the mean of a distribution that is not sure', () => {
    const data = Array.from({ length: 8 }, () => [0, 0, ...Array(12).fill(0)]).flat();
    data[1] = 0.5;
    expect(rows(decode(settings, { y: values(data, [1, 8, 14]) }, size).boxes)).toEqual([
      [1, 0.5, -8, -8, 8, 8],
    ]);
  });

  it('reads scores and distributions in outputs of their own, stride after stride', () => {
    const part = (from: number, to: number, begin: number, end: number): number[] =>
      Array.from({ length: to - from }, (_, i) =>
        joined.slice((from + i) * 14 + begin, (from + i) * 14 + end),
      ).flat();
    const outputs = {
      s8: values(part(0, 6, 0, 2), [1, 6, 2]),
      s16: values(part(6, 8, 0, 2), [1, 2, 2]),
      d8: values(part(0, 6, 2, 14), [1, 6, 12]),
      d16: values(part(6, 8, 2, 14), [1, 2, 12]),
    };
    expect(decode(settings, outputs, size)).toEqual(
      decode(settings, { y: values(joined, [1, 8, 14]) }, size),
    );
    expect(() => decode({ ...settings, classes: 3 }, outputs, size)).toThrowError(
      wrong(/\[1, cells, 3\] of 6, 2 cells and then distributions \[1, cells, 12\]/),
    );
  });

  it('says which shape it expects', () => {
    const outputs = { y: values(new Float32Array(14), [1, 1, 14]) };
    expect(() => decode(settings, outputs, size)).toThrowError(wrong(/\[1, 8, classes \+ 12\]/));
  });
});

describe('priorBoxes', () => {
  it('lays squares over rounded-up grids, row after row', () => {
    const boxes = priorBoxes({ strides: [8], sizes: [[4]], variances: [0.1, 0.2], clip: false }, [12, 8]);
    // Two rows of one cell; the second centre lies at the lower edge.
    expect([...boxes]).toEqual([0.5, 4 / 12, 0.5, 4 / 12, 0.5, 1, 0.5, 4 / 12]);
  });

  it('makes the 4,420 boxes of UltraFace', () => {
    const sizes = [
      [10, 16, 24],
      [32, 48],
      [64, 96],
      [128, 192, 256],
    ];
    const priors = { strides: [8, 16, 32, 64], sizes, variances: [0.1, 0.2] as [number, number], clip: true };
    const boxes = priorBoxes(priors, [240, 320]);
    expect(boxes).toHaveLength(4 * 4420);
    expect(Math.max(...boxes)).toBe(1);
  });
});
