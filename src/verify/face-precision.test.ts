import { describe, expect, it } from 'vitest';
import type { ScoredBox, TruthBox } from './boxes.js';
import { FacePrecision } from './face-precision.js';

const at = (left: number, size = 10) => ({ class: 0, left, top: 0, right: left + size, bottom: size });
const face = (left: number, ignored = false): TruthBox => ({ ...at(left), area: 100, ignored });
const found = (score: number, left: number, size = 10): ScoredBox => ({ ...at(left, size), score });
const figure = (faces: FacePrecision, ...counts: number[]): number =>
  faces.statistic(Uint16Array.from(counts))[0]!;

describe('FacePrecision', () => {
  it('is the area under the curve of precision made falling', () => {
    const faces = new FacePrecision();
    faces.add(0, [face(0), face(100)], [found(0.9, 0), found(0.8, 50), found(0.7, 100)]);
    // Precision 1 up to a recall of 1/2, then 2/3 up to 1.
    expect(figure(faces, 1)).toBeCloseTo(100 * (0.5 + 0.5 * (2 / 3)), 10);
  });

  it('counts a second box on a face as wrong, although another face is free beside it', () => {
    const faces = new FacePrecision();
    // The second box overlaps the first face by 8/14 and the second one by 7/15; IoU .5 is enough.
    faces.add(0, [face(0), face(7)], [found(0.9, 0), found(0.8, 3), found(0.7, 7)]);
    expect(figure(faces, 1)).toBeCloseTo(100 * (0.5 + 0.5 * (2 / 3)), 10);
  });

  it('leaves boxes on ignored faces out', () => {
    const faces = new FacePrecision();
    faces.add(0, [face(0), face(100, true)], [found(0.9, 100), found(0.8, 0)]);
    expect(figure(faces, 1)).toBeCloseTo(100, 10);
  });

  it('takes boxes of one score together', () => {
    const faces = new FacePrecision();
    faces.add(0, [face(0)], [found(0.5, 50), found(0.5, 0)]);
    expect(figure(faces, 1)).toBeCloseTo(50, 10);
    const turned = new FacePrecision();
    turned.add(0, [face(0)], [found(0.5, 0), found(0.5, 50)]);
    expect(figure(turned, 1)).toBeCloseTo(50, 10);
  });

  it('weighs pictures, and is not defined without a face', () => {
    const faces = new FacePrecision();
    faces.add(0, [face(0)], [found(0.9, 0)]);
    faces.add(1, [face(0)], []);
    faces.add(2, [], [found(0.95, 0)]);
    expect(figure(faces, 1, 3, 0)).toBeCloseTo(25, 10);
    expect(figure(faces, 1, 0, 1)).toBeCloseTo(50, 10);
    expect(figure(faces, 0, 0, 5)).toBeNaN();
  });
});
