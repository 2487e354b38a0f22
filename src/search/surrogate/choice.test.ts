import { expect, it } from 'vitest';
import { Draws } from '../algorithms/random.js';
import { randomGenome, type Space } from '../space.js';
import { chooseFit } from './choice.js';
import { Encoding } from './features.js';

const space: Space = Array.from({ length: 30 }, () => ({ choices: 3, ordered: false }));
const encoding = new Encoding(space);
const draws = new Draws(5, 0, 0);
const genomes = Array.from({ length: 100 }, () => randomGenome(space, draws));
const rows = genomes.map((genome) => encoding.encode(genome));
const kindFor = (score: (genome: readonly number[]) => number, count = 100): string =>
  chooseFit(rows.slice(0, count), genomes.slice(0, count).map(score), encoding, 1).kind;

it.each([
  [
    'trees where few genes decide',
    'trees',
    (genome: readonly number[]) => (genome[0] === 2 ? 5 + genome[1]! : genome[2]!),
  ],
  ['the kernel where all do', 'kernel', (genome: readonly number[]) => genome.reduce((a, b) => a + b, 0)],
  ['the kernel where none does', 'kernel', () => 1],
])('takes %s', (_, kind, score) => {
  expect(kindFor(score)).toBe(kind);
});

it('takes the kernel while there are few networks', () => {
  expect(kindFor((genome) => genome[0]!, 20)).toBe('kernel');
});
