import type { Priors } from '../../config/metric.js';
import type { Size } from '../boxes.js';

/**
 * Boxes that a single-shot detector corrects (Liu et al., arXiv 1512.02325, section 2.2, squares only): at each cell of the
 * grid of each stride, row after row, one of each of its sizes.
 *
 * @param input height and width in pixels; grids are rounded up
 * @returns [boxes, 4] centre x, centre y, width, height as shares of the input
 */
export function priorBoxes({ strides, sizes, clip }: Priors, input: Size): Float64Array {
  const [height, width] = input;
  const boxes: number[] = [];
  strides.forEach((stride, s) => {
    for (let row = 0; row < Math.ceil(height / stride); row++) {
      for (let column = 0; column < Math.ceil(width / stride); column++) {
        for (const size of sizes[s]!) {
          boxes.push(((column + 0.5) * stride) / width, ((row + 0.5) * stride) / height);
          boxes.push(size / width, size / height);
        }
      }
    }
  });
  return Float64Array.from(boxes, (value) => (clip ? Math.min(1, Math.max(0, value)) : value));
}

/**
 * A prior moved by what the network says of it: centre + offset · variance · size, size · exp(offset · variance).
 * @returns centre x, centre y, width, height
 */
export function correctPrior(
  priors: Float64Array,
  offsets: ArrayLike<number>,
  at: number,
  [centre, size]: Priors['variances'],
): [number, number, number, number] {
  const [width, height] = [priors[at + 2]!, priors[at + 3]!];
  return [
    priors[at]! + offsets[at]! * centre * width,
    priors[at + 1]! + offsets[at + 1]! * centre * height,
    width * Math.exp(offsets[at + 2]! * size),
    height * Math.exp(offsets[at + 3]! * size),
  ];
}
