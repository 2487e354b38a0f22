import { expect, it } from 'vitest';
import { crowding, dominates, fronts, ranking } from './dominance.js';
import { Draws } from './random.js';

const judged = (objectives: number[], violation = 0) => ({ objectives, violation });

it('limits come before objectives', () => {
  expect(dominates(judged([9, 9]), judged([0, 0], 0.1))).toBe(true);
  expect(dominates(judged([9, 9], 0.1), judged([0, 0], 0.2))).toBe(true);
  expect(dominates(judged([0, 1]), judged([1, 0]))).toBe(false);
  expect(dominates(judged([0, 1]), judged([0, 2]))).toBe(true);
  expect(dominates(judged([0, 1]), judged([0, 1]))).toBe(false);
});

it('fronts are what nothing in them or behind them dominates', () => {
  const draws = new Draws(1, 0, 0);
  const all = Array.from({ length: 60 }, () =>
    judged([draws.below(6), draws.below(6)], draws.next() < 0.2 ? draws.below(3) : 0),
  );
  const found = fronts(all);
  expect(found.flat().sort((a, b) => a - b)).toEqual(all.map((_, i) => i));
  found.forEach((front, depth) => {
    for (const i of front) {
      const betters = all.flatMap((other, j) => (dominates(other, all[i]!) ? [j] : []));
      // Somebody of the front before is better, nobody of this front or a later one is.
      expect(betters.some((j) => found[depth - 1]?.includes(j))).toBe(depth > 0);
      expect(betters.every((j) => found.slice(0, depth).flat().includes(j))).toBe(true);
    }
  });
});

it('room is what the neighbours leave, and the ends have all of it', () => {
  const front = [judged([0, 10]), judged([1, 6]), judged([4, 1]), judged([10, 0])];
  expect(crowding(front)).toEqual([Infinity, 4 / 10 + 9 / 10, 9 / 10 + 6 / 10, Infinity]);
  expect(ranking([...front, judged([5, 5])]).at(-1)).toBe(4);
  expect(crowding([judged([1, 1]), judged([1, 1])])).toEqual([Infinity, Infinity]);
});
