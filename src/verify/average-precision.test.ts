import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { AveragePrecision, COCO_FIGURES } from './average-precision.js';
import { type Box, boxArea, type ScoredBox, type TruthBox, toTruth } from './boxes.js';
import { AREA_RANGES, IGNORED_SHIFT, IOU_THRESHOLDS, matchBoxes } from './coco-match.js';
import { parseCoco } from './label-boxes.js';

const box = (left: number, top: number, right: number, bottom: number, label = 0): Box => ({
  class: label,
  left,
  top,
  right,
  bottom,
});
const truth = (at: Box, ignored = false): TruthBox => ({ ...at, area: boxArea(at), ignored });
const scored = (score: number, at: Box): ScoredBox => ({ ...at, score });
const ONCE = new Uint16Array(8).fill(1);
const [AP, AP50, , APS] = [0, 1, 2, 3] as const;

describe('matchBoxes', () => {
  /** Verdicts of the area range 'all'. */
  const all = (truths: TruthBox[], detected: Box[]): number[] =>
    [...matchBoxes(truths, detected)].filter((_, i) => i % AREA_RANGES.length === 0);

  it('gives each true box to the best detection only', () => {
    const first = truth(box(0, 0, 10, 10));
    // IoU 1, then 1 once more, then 10/11 (right up to .90), of a second true box.
    const detected = [first, first, box(20, 0, 31, 10)];
    expect(all([first, truth(box(20, 0, 30, 10))], detected)).toEqual([0b1111111111, 0, 0b0111111111]);
  });

  it('lets a crowd take any number of boxes, which then do not count', () => {
    const ignored = 0b1111111111 << IGNORED_SHIFT;
    const inside = box(2, 2, 4, 4);
    expect(all([truth(box(0, 0, 100, 100), true)], [inside, inside])).toEqual([ignored, ignored]);
  });

  it('prefers a true box that counts to a crowd that overlaps more', () => {
    const detected = box(0, 0, 10, 12);
    const [verdict] = all([truth(box(0, 0, 50, 50), true), truth(box(0, 0, 10, 10))], [detected]);
    // IoU 10/12: right up to .80, in the crowd from there on.
    expect(verdict).toBe(0b0001111111 | (0b1110000000 << IGNORED_SHIFT));
  });
});

describe('AveragePrecision', () => {
  const golden = JSON.parse(
    readFileSync(new URL('../../test/fixtures/coco_golden.json', import.meta.url), 'utf8'),
  ) as {
    dataset: { images: { id: number }[]; categories: { id: number }[] };
    detections: { image_id: number; category_id: number; bbox: number[]; score: number }[];
    stats: number[];
  }[];

  it.each(golden.map((one, i) => [i, one] as const))(
    'gives the figures of pycocotools: case %i',
    (_, one) => {
      const { dataset, detections, stats } = one;
      const truths = parseCoco(JSON.stringify(dataset), 'golden.json');
      const ids = dataset.categories.map(({ id }) => id);
      const ap = new AveragePrecision();
      dataset.images.forEach(({ id }, sample) => {
        const found = detections
          .filter(({ image_id }) => image_id === id)
          .map(({ bbox: [x, y, w, h], category_id, score }) =>
            scored(score, box(x!, y!, x! + w!, y! + h!, ids.indexOf(category_id))),
          )
          .sort((a, b) => b.score - a.score);
        ap.add(
          sample,
          truths[sample]![1].map((label) => toTruth(label, [1, 1])),
          found,
        );
      });
      const figures = ap.statistic(new Uint16Array(dataset.images.length).fill(1));
      expect(figures).toHaveLength(COCO_FIGURES.length);
      figures.forEach((figure, i) => {
        expect(figure / 100, COCO_FIGURES[i]!.name).toBeCloseTo(stats[i]!, 13);
      });
      expect(ap.precision(new Uint16Array(dataset.images.length).fill(1))[0]! / 100).toBeCloseTo(
        stats[0]!,
        13,
      );
    },
  );

  it('has the thresholds of numpy.linspace(.5, .95, 10), rounding included', () => {
    expect(IOU_THRESHOLDS).toEqual([
      ...[0.5, 0.55, 0.6, 0.65, 0.7],
      ...[0.75, 0.8, 0.85, 0.8999999999999999, 0.95],
    ]);
  });

  it('agrees with a case worked out by hand', () => {
    // Two true boxes of one class. Sorted: .9 right, .8 wrong, .7 right (IoU 1).
    // Precision 1, 1/2, 2/3 at recall .5, .5, 1: 51 levels (0 to .50) at 1, 50 levels at 2/3.
    const ap = new AveragePrecision();
    ap.add(0, [truth(box(0, 0, 10, 10))], [scored(0.9, box(0, 0, 10, 10)), scored(0.8, box(40, 40, 50, 50))]);
    ap.add(1, [truth(box(5, 5, 9, 9))], [scored(0.7, box(5, 5, 9, 9))]);
    expect(ap.statistic(ONCE)[AP]).toBeCloseTo((100 * (51 + 50 * (2 / 3))) / 101, 10);
  });

  it('averages over thresholds and over classes that have true boxes', () => {
    const ap = new AveragePrecision();
    // Class 0 overlaps by 3/4: right at .50 to .75, six of ten thresholds. Class 1 is missed. Class 2 has no truth.
    ap.add(
      0,
      [truth(box(0, 0, 4, 4)), truth(box(9, 9, 12, 12, 1))],
      [scored(0.9, box(0, 0, 3, 4)), scored(0.5, box(0, 0, 3, 4, 2))],
    );
    expect(ap.statistic(ONCE)[AP]).toBeCloseTo((100 * 0.6) / 2, 10);
    expect(ap.statistic(ONCE)[AP50]).toBeCloseTo(50, 10);
  });

  it('weighs samples as if they were there as often', () => {
    const ap = new AveragePrecision();
    ap.add(0, [truth(box(0, 0, 4, 4))], [scored(0.9, box(0, 0, 4, 4))]);
    ap.add(1, [truth(box(0, 0, 4, 4))], []);
    expect(ap.statistic(Uint16Array.of(1, 0))[AP]).toBeCloseTo(100, 10);
    expect(ap.statistic(Uint16Array.of(0, 3))[AP]).toBe(0);
    const twice = new AveragePrecision();
    for (const sample of [0, 1]) twice.add(sample, [truth(box(0, 0, 4, 4))], [scored(0.9, box(0, 0, 4, 4))]);
    twice.add(2, [truth(box(0, 0, 4, 4))], []);
    expect(ap.statistic(Uint16Array.of(2, 1))[AP]).toBeCloseTo(twice.statistic(ONCE)[AP]!, 10);
  });

  it('leaves sizes undefined that no true box has', () => {
    const ap = new AveragePrecision();
    ap.add(0, [truth(box(0, 0, 50, 50))], []);
    expect(ap.statistic(ONCE)[APS]).toBeNaN();
    expect(ap.statistic(Uint16Array.of(0))[AP]).toBeNaN();
  });
});
