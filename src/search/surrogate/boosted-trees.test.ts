import { expect, it } from 'vitest';
import { Draws } from '../algorithms/random.js';
import { randomGenome, type Space } from '../space.js';
import { BoostedTrees } from './boosted-trees.js';
import { Encoding } from './features.js';
import { KernelRidge } from './kernel-ridge.js';

const space: Space = Array.from({ length: 20 }, (_, gene) => ({ choices: 4, ordered: gene > 9 }));
const encoding = new Encoding(space);
const draws = new Draws(5, 0, 0);
const genomes = Array.from({ length: 160 }, () => randomGenome(space, draws));
const rows = genomes.map((genome, at) => encoding.encode(genome, [at / 160]));
const fitted = (targets: readonly number[], count = 120): BoostedTrees =>
  new BoostedTrees(rows.slice(0, count), targets.slice(0, count), encoding.unordered, new Draws(1, 0, 0));
/** Squared error of the rows that were not fitted. */
const error = (targets: readonly number[], guess: (row: Float64Array) => number): number =>
  rows.slice(120).reduce((sum, row, at) => sum + (guess(row) - targets[120 + at]!) ** 2, 0);
const meanOf = (targets: readonly number[]): number => targets.slice(0, 120).reduce((a, b) => a + b, 0) / 120;

it.each([
  ['a gene without order', (genome: readonly number[]) => (genome[0] === 2 ? 5 : 0)],
  ['a gene with order', (genome: readonly number[]) => (genome[15]! > 1 ? 5 : 0)],
  ['two genes together', (genome: readonly number[]) => (genome[0] === 2 && genome[15]! > 1 ? 5 : 0)],
])('finds what decides: %s', (_, score) => {
  const targets = genomes.map(score);
  const fit = fitted(targets);
  expect(error(targets, (row) => fit.predict(row))).toBeLessThan(0.1 * error(targets, () => meanOf(targets)));
});

it('needs fewer rows than a kernel where few genes decide', () => {
  const targets = genomes.map((genome) => (genome[0] === 2 ? 5 : 0) + genome[15]!);
  const [known, scores] = [rows.slice(0, 120), targets.slice(0, 120)];
  const settings = KernelRidge.choose(known, scores, encoding);
  const kernel = new KernelRidge(known, scores, encoding, settings);
  const trees = fitted(targets);
  expect(error(targets, (row) => trees.predict(row))).toBeLessThan(
    error(targets, (row) => kernel.predict(row)),
  );
});

it('cuts a feature of many values', () => {
  const targets = rows.map((row) => (row.at(-1)! > 0.3 ? 1 : 0));
  const fit = new BoostedTrees(rows, targets, encoding.unordered, new Draws(1, 0, 0));
  expect(fit.predict(rows[10]!)).toBeLessThan(0.2);
  expect(fit.predict(rows[100]!)).toBeGreaterThan(0.8);
});

it('gives the mean where there is nothing to tell apart, and the same for the same numbers', () => {
  const same = fitted(genomes.map(() => 3));
  expect(same.predict(rows[130]!)).toBeCloseTo(3);
  const targets = genomes.map((genome) => genome[3]!);
  expect(fitted(targets).predict(rows[130]!)).toBe(fitted(targets).predict(rows[130]!));
  expect(fitted([1, 2], 2).predict(rows[3]!)).toBeCloseTo(1.5, 1);
});
