import { expect, it } from 'vitest';
import { Archive } from './archive.js';
import type { Tried } from './evaluation.js';

const network = (at: number): Tried => ({
  genome: [at % 7, 299 - (at % 300)],
  objectives: [-at / 3, at],
  violation: at % 5 === 0 ? 1.5 : 0,
  score: at % 5 === 0 ? null : at / 3,
  epochs: at % 2 === 0 ? null : 3,
  reason: at % 5 === 0 ? 'died' : null,
});

it('gives back what was put into it, in order, and what came later in its place', () => {
  const space = [7, 300].map((choices) => ({ choices, ordered: false }));
  const archive = new Archive(space);
  expect(archive.all()).toEqual([]);
  const networks = Array.from({ length: 2500 }, (_, at) => network(at));
  for (const [at, one] of networks.entries()) archive.set(at, one);
  expect(archive.all()).toEqual(networks);
  archive.set(1100, network(4));
  expect(archive.length).toBe(2500);
  expect(archive.all()[1100]).toEqual(network(4));
});
