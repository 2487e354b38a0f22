import { describe, expect, it } from 'vitest';
import { segmentationMetricSchema } from '../config/metric.js';
import { overlap, predictedClasses, segmentationStatistic } from './segmentation.js';

const metric = { classes: 3, ignore: [9] };
const settings = segmentationMetricSchema.parse({ kind: 'segmentation', ...metric });
const map = (height: number, width: number, classes: number[]) => ({ height, width, classes });

describe('mIoU', () => {
  it('agrees with a case worked out by hand', () => {
    // Class 0: 2 shared of 4; class 1: 1 of 3; class 2 occurs nowhere. The last pixel is ignored.
    const picture = overlap(
      map(2, 3, [0, 0, 1, 1, 0, 2]),
      map(2, 3, [0, 0, 0, 1, 1, 9]),
      metric,
      'label.png',
    );
    const [miou, accuracy] = segmentationStatistic([picture])(Uint16Array.of(1));
    expect(miou).toBeCloseTo((100 * (2 / 4 + 1 / 3)) / 2, 10);
    expect(accuracy).toBeCloseTo(60, 10);
    expect(picture).toMatchObject({ labelled: 5, right: 3 });
  });

  it('adds pictures up before it divides', () => {
    const first = overlap(map(1, 2, [0, 0]), map(1, 2, [0, 0]), metric, 'a');
    const second = overlap(map(1, 2, [1, 1]), map(1, 2, [0, 0]), metric, 'b');
    // Class 0: 2 of 4; class 1: 0 of 2.
    expect(segmentationStatistic([first, second])(Uint16Array.of(1, 1))[0]).toBeCloseTo(25, 10);
  });

  it('samples a label map of another size at the nearest pixel', () => {
    const picture = overlap(map(1, 2, [0, 1]), map(2, 4, [0, 0, 1, 1, 0, 0, 1, 1]), metric, 'a');
    expect(picture.right).toBe(2);
  });

  it('names a label that is no class', () => {
    expect(() => overlap(map(1, 1, [0]), map(1, 1, [7]), metric, 'a.png')).toThrowError(
      /a\.png has the label 7/,
    );
  });
});

describe('predictedClasses', () => {
  const values = (data: number[], shape: number[]) => ({ y: { data, shape, integer: false } });

  it('takes scores in both layouts, and class numbers', () => {
    const nchw = predictedClasses(values([1, 0, 0, 2, 0, 1], [1, 3, 1, 2]), settings, 'nchw');
    expect(Array.from(nchw.map.classes)).toEqual([0, 1]);
    const nhwc = predictedClasses(values([1, 0, 0, 0, 2, 1], [1, 1, 2, 3]), settings, 'nhwc');
    expect(nhwc).toMatchObject({ classes: 3, map: { height: 1, width: 2 } });
    expect(Array.from(nhwc.map.classes)).toEqual([0, 1]);
    const numbers = predictedClasses(values([2, 1], [1, 1, 2]), settings, 'nchw');
    expect(numbers.map).toMatchObject({ height: 1, width: 2, classes: [2, 1] });
  });

  it('counts the classes of scores, and needs to be told those of class numbers', () => {
    const open = segmentationMetricSchema.parse({ kind: 'segmentation' });
    expect(predictedClasses(values([1, 0, 0, 2, 0, 1], [1, 3, 1, 2]), open, 'nchw').classes).toBe(3);
    expect(() => predictedClasses(values([2, 1], [1, 1, 2]), open, 'nchw')).toThrowError(/how many classes/);
  });

  it('refuses other shapes', () => {
    expect(() => predictedClasses(values([1, 2], [1, 2, 1, 1]), settings, 'nchw')).toThrowError(/3 classes/);
    expect(() => predictedClasses(values([1, 2], [1, 2]), settings, 'nchw')).toThrowError(/3 classes/);
  });
});
