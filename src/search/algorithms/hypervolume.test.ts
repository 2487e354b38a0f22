import { expect, it } from 'vitest';
import { hypervolume } from './hypervolume.js';
import { Draws } from './random.js';

it('of one point is a box, and what lies outside counts for nothing', () => {
  expect(hypervolume([[1, 2]], [4, 4])).toBe(6);
  expect(hypervolume([[1, 2, 3]], [4, 4, 4])).toBe(6);
  expect(
    hypervolume(
      [
        [5, 0],
        [4, 4],
      ],
      [4, 4],
    ),
  ).toBe(0);
  expect(hypervolume([], [4, 4])).toBe(0);
});

it('counts every unit cube that some point dominates', () => {
  for (const objectives of [2, 3, 4]) {
    const draws = new Draws(3, objectives, 0);
    const points = Array.from({ length: 9 }, () => Array.from({ length: objectives }, () => draws.below(5)));
    let cubes = 0;
    for (let corner = 0; corner < 5 ** objectives; corner++) {
      const at = Array.from({ length: objectives }, (_, i) => Math.floor(corner / 5 ** i) % 5);
      if (points.some((point) => point.every((value, i) => value <= at[i]!))) cubes++;
    }
    expect(hypervolume(points, new Array(objectives).fill(5))).toBe(cubes);
  }
});
