import type { Preprocess } from '../config/data.js';
import { UserError } from '../errors.js';
import { entry } from './columns.js';

/** A box in pixels of the original picture (or of the network's input, before it is mapped back). */
export interface Box {
  class: number;
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export interface ScoredBox extends Box {
  score: number;
}

/** A labelled box, in pixels of the original picture. */
export interface TruthBox extends Box {
  /** Of the object, where the labels know it; else of the box. */
  area: number;
  /** Finding it or not does not count: a crowd of objects, or one that is not to be judged. */
  ignored: boolean;
}

/** A box as label files give it. */
export interface LabelBox {
  class: number;
  /** Left upper corner and size. */
  x: number;
  y: number;
  width: number;
  height: number;
  /** Of all four: shares of the picture's width and height, or its pixels. */
  unit: 'share' | 'pixel';
  /** Area of the object in pixels where it is known; null takes the box's. */
  area: number | null;
  ignored: boolean;
}

/** Height and width. */
export type Size = readonly [number, number];

/** Intersection over union of two boxes; 0 where both are empty. */
export function boxIou(a: Box, b: Box): number {
  const shared = intersection(a, b);
  return shared > 0 ? shared / (boxArea(a) + boxArea(b) - shared) : 0;
}

/** Area that two boxes share. */
export function intersection(a: Box, b: Box): number {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return width <= 0 || height <= 0 ? 0 : width * height;
}

export const boxArea = (box: Box): number => (box.right - box.left) * (box.bottom - box.top);

/** Boxes by class, in their order. */
export function groupByClass<B extends Box>(boxes: readonly B[]): Map<number, B[]> {
  const groups = new Map<number, B[]>();
  for (const box of boxes) entry(groups, box.class, () => [] as B[]).push(box);
  return groups;
}

/**
 * Greedy non-maximum suppression within each class.
 * @returns the kept boxes, best first, at most `most` of them
 */
export function suppress(boxes: readonly ScoredBox[], iou: number, most: number): ScoredBox[] {
  const sorted = [...boxes].sort((a, b) => b.score - a.score);
  const kept: ScoredBox[] = [];
  const byClass = new Map<number, ScoredBox[]>();
  for (const box of sorted) {
    if (kept.length === most) break;
    const rivals = entry(byClass, box.class, () => [] as ScoredBox[]);
    if (rivals.some((rival) => boxIou(rival, box) > iou)) continue;
    kept.push(box);
    rivals.push(box);
  }
  return kept;
}

/** How a position in the network's input maps back to the picture: picture = (input − offset) / scale, per axis. */
export interface Placement {
  scale: Size;
  offset: Size;
}

/**
 * Undoes the preprocessing of a picture of size `original` in an input of size `input`.
 * @throws UserError METRIC_PREPROCESS when preprocessing cuts parts of the picture off
 */
export function placement(preprocess: Preprocess, original: Size, input: Size): Placement {
  if (preprocess.crop !== undefined) {
    throw new UserError(
      'METRIC_PREPROCESS',
      'Boxes cannot be scored on cropped pictures: labels lie outside them.',
      {
        suggestions: ['Use letterbox, or resize to a pair of sizes, instead of crop.'],
      },
    );
  }
  const ratios: Size = [input[0] / original[0], input[1] / original[1]];
  if (!preprocess.letterbox) return { scale: ratios, offset: [0, 0] };
  const ratio = Math.min(...ratios);
  const scaled = original.map((size) => Math.max(1, Math.trunc(size * ratio)));
  const centered = preprocess.letterbox.align === 'center';
  return {
    scale: [ratio, ratio],
    offset: centered ? [(input[0] - scaled[0]!) >> 1, (input[1] - scaled[1]!) >> 1] : [0, 0],
  };
}

/** A box of the network's input in pixels of the picture, cut at its edges. */
export function toPicture<B extends Box>(box: B, { scale, offset }: Placement, [height, width]: Size): B {
  const x = (value: number): number => Math.min(width, Math.max(0, (value - offset[1]) / scale[1]));
  const y = (value: number): number => Math.min(height, Math.max(0, (value - offset[0]) / scale[0]));
  return { ...box, left: x(box.left), right: x(box.right), top: y(box.top), bottom: y(box.bottom) };
}

/** A labelled box in pixels of a picture of that size. */
export function toTruth(label: LabelBox, [rows, columns]: Size): TruthBox {
  const [wide, high] = label.unit === 'share' ? [columns, rows] : [1, 1];
  const box = {
    class: label.class,
    left: label.x * wide,
    right: (label.x + label.width) * wide,
    top: label.y * high,
    bottom: (label.y + label.height) * high,
  };
  return { ...box, area: label.area ?? boxArea(box), ignored: label.ignored };
}
