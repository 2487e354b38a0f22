import { expect, it } from 'vitest';
import { Draws } from '../algorithms/random.js';
import { randomGenome, type Space } from '../space.js';
import { Encoding } from './features.js';
import { KernelRidge } from './kernel-ridge.js';

const space: Space = Array.from({ length: 8 }, (_, gene) => ({ choices: 4, ordered: gene > 3 }));
const encoding = new Encoding(space);
const { distance } = encoding;
const draws = new Draws(5, 0, 0);
const genomes = Array.from({ length: 150 }, () => randomGenome(space, draws));
const rows = genomes.map((genome) => encoding.encode(genome));
/** Every gene counts, and two of them together. */
const score = (genome: readonly number[]): number =>
  genome.reduce((sum, value, gene) => sum + Math.sin(value + gene), 0) + (genome[0] === genome[1] ? 2 : 0);

it('values of a gene without order are one apart, the ends of an ordered one too', () => {
  const at = (...genome: number[]): Float64Array => encoding.encode([...genome, 0, 0, 0, 0, 0, 0]);
  expect(distance(at(0, 0), at(3, 0))).toBeCloseTo(1);
  expect(distance(at(1, 0), at(2, 0))).toBeCloseTo(1);
  const ordered = (value: number): Float64Array => encoding.encode([0, 0, 0, 0, value, 0, 0, 0]);
  expect(distance(ordered(0), ordered(3))).toBeCloseTo(1);
  expect(distance(ordered(1), ordered(2))).toBeCloseTo(1 / 3);
});

it('predicts networks that it has not seen', () => {
  const targets = genomes.map(score);
  const [known, scores] = [rows.slice(0, 120), targets.slice(0, 120)];
  const fit = new KernelRidge(known, scores, encoding, KernelRidge.choose(known, scores, encoding));
  const mean = scores.reduce((a, b) => a + b, 0) / scores.length;
  const error = (guess: (row: Float64Array) => number): number =>
    rows.slice(120).reduce((sum, row, i) => sum + (guess(row) - targets[120 + i]!) ** 2, 0);
  expect(error((row) => fit.predict(row))).toBeLessThan(0.35 * error(() => mean));
});

it('is not thrown off by networks that learned nothing', () => {
  const targets = genomes.map((genome, i) => (i % 20 === 0 ? -1000 : score(genome)));
  const fit = new KernelRidge(rows, targets, encoding, { width: 1, ridge: 0.03 });
  for (const row of rows.slice(1, 20)) expect(Math.abs(fit.predict(row))).toBeLessThan(30);
});

it('the same networks with the same scores give an even fit', () => {
  const same = [rows[0]!, rows[0]!, rows[0]!];
  const settings = KernelRidge.choose(same, [2, 2, 2], encoding);
  expect(new KernelRidge(same, [2, 2, 2], encoding, settings).predict(rows[1]!)).toBeCloseTo(2);
});

it('distances from rows are those of each pair, however alike the networks are that were asked before', () => {
  const wide = new Encoding([...space, { choices: 14, ordered: true }]);
  const networks = Array.from({ length: 60 }, (_, at) => {
    const genome = [...genomes[at % 5]!, at % 14];
    if (at % 3 > 0) genome[at % 8] = 3;
    return wide.encode(genome, [at / 7, -at]);
  });
  const others = networks.slice(0, 20);
  const distances = wide.from(others);
  for (const one of networks)
    expect([...distances.of(one)]).toEqual(others.map((other) => wide.distance(one, other)));
});
