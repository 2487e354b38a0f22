import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hypervolume } from '../../../src/search/algorithms/hypervolume.js';
import type { Genome } from '../../../src/search/space.js';
import type { Problem } from '../../../src/search/strategies/strategy.js';
import { markdown, Skipped } from '../cost/section.js';
import { cell, play, SEARCHES } from './play.js';
import type { NasSection } from './section.js';

const FILE = 'nas/nas-bench-macro_cifar10.json';
const LAYERS = 8;
const CHOICES = 3;
const MARKS = [80, 200, 400];
/** Accuracy that a front is measured from: below it lies what did not learn. */
const LEAST = 45;

interface Network {
  test_acc: number[];
  flops: number;
}

/** Accuracy of the first of three trainings is what searches see; FLOPs may be no more than the median. */
function measure({ assets, seeds }: Parameters<NasSection['measure']>[0]): string {
  const path = join(assets, FILE);
  if (!existsSync(path)) throw new Skipped(`${path} is not there`);
  const table = JSON.parse(readFileSync(path, 'utf8')) as Record<string, Network>;
  const flops = Object.values(table).map((network) => network.flops);
  const cap = flops.sort((a, b) => a - b)[flops.length >> 1]!;
  const of = (genome: Genome): Network => table[genome.join('')]!;
  const accuracy = ({ test_acc }: Network): number => test_acc[0]!;
  const problem: Problem = {
    space: Array.from({ length: LAYERS }, () => ({ choices: CHOICES, ordered: false })),
    screen: (genome) => ({
      costs: [of(genome).flops / 1e6],
      violation: Math.max(0, of(genome).flops / cap - 1),
    }),
  };
  const point = (network: Network): number[] => [-accuracy(network), network.flops / 1e6];
  // A network that reaches the cap exactly counts.
  const reference = [-LEAST, cap / 1e6 + 1e-6];
  const all = Object.values(table).filter((network) => network.flops <= cap);
  const whole = hypervolume(all.map(point), reference);
  let broken = 0;
  const rows = Object.entries(SEARCHES).map(([name, make]) => {
    const shares = MARKS.map((): number[] => []);
    for (let seed = 0; seed < seeds; seed++) {
      const points: number[][] = [];
      play(
        problem,
        make(problem, seed),
        (genome) => accuracy(of(genome)),
        MARKS.at(-1)!,
        (genome, tried) => {
          if (of(genome).flops > cap) broken++;
          points.push(point(of(genome)));
          const mark = MARKS.indexOf(tried);
          if (mark >= 0) shares[mark]!.push(hypervolume(points, reference) / whole);
        },
      );
    }
    return [name, ...shares.map((share) => cell(share, 4))];
  });
  return [
    `Share of the hypervolume of the best feasible networks, mean of ${seeds} seeds and its standard error; ${broken} networks over the limit were tried.`,
    '',
    markdown(['search', ...MARKS.map((mark) => `${mark} evaluations`)], rows),
  ].join('\n');
}

export const macro: NasSection = {
  name: 'macro',
  title: 'NAS-Bench-Macro: accuracy and FLOPs, at most the median of them',
  measure,
};
