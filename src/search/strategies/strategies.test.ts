import { describe, expect, it } from 'vitest';
import { type Genome, genomeKey, type Space } from '../space.js';
import { LocalSearch, RandomSearch, RegularizedEvolution } from './baselines.js';
import { EVOLUTION_DEFAULTS, Evolution } from './evolution.js';
import type { Problem, Scored, Strategy } from './strategy.js';

const space: Space = Array.from({ length: 6 }, (_, gene) => ({ choices: 4, ordered: gene > 2 }));
const cost = (genome: Genome): number => genome.reduce((a, b) => a + b, 0);
/** The best network is 3 3 3 3 3 3, which the limit rules out. */
const score = (genome: Genome): number =>
  genome.reduce((sum, value, gene) => sum + value * (gene + 1), 0) +
  (genome[0] === 3 && genome[5] === 3 ? 5 : 0);
const problem: Problem = {
  space,
  screen: (genome) => ({ costs: [cost(genome)], violation: Math.max(0, cost(genome) / 12 - 1) }),
};

const MAKERS: Record<string, (of: Problem, seed: number) => Strategy> = {
  evolution: (of, seed) => new Evolution(of, { ...EVOLUTION_DEFAULTS, seed }),
  'evolution without fits': (of, seed) => new Evolution(of, { ...EVOLUTION_DEFAULTS, seed, assisted: false }),
  'regularised evolution': (of, seed) => new RegularizedEvolution(of, seed, 10, 4),
  'local search': (of, seed) => new LocalSearch(of, seed),
  'random search': (of, seed) => new RandomSearch(of, seed),
};

/** Networks in the order in which a strategy tries them. */
function tries(strategy: Strategy, of: Problem, count: number, size: number, start = 0): Genome[] {
  const found: Genome[] = [];
  for (let round = start; found.length < count; round++) {
    const asked = strategy.ask(round, Math.min(size, count - found.length));
    if (asked.length === 0) break;
    strategy.proposed(asked);
    found.push(...asked);
    strategy.tell(scores(of, asked));
  }
  return found;
}

const scores = (of: Problem, genomes: readonly Genome[]): Scored[] =>
  genomes.map((genome) => ({
    genome,
    objectives: [-score(genome), ...of.screen(genome).costs],
    violation: 0,
  }));

describe.each(Object.entries(MAKERS))('%s', (_, make) => {
  it.each([1, 7])('tries nothing twice and nothing over the limit, %d at a time', (size) => {
    const found = tries(make(problem, 1), problem, 60, size);
    expect(new Set(found.map(genomeKey)).size).toBe(60);
    expect(found.every((genome) => cost(genome) <= 12)).toBe(true);
  });

  it('asks for the same networks until it is told that they are tried', () => {
    const strategy = make(problem, 2);
    tries(strategy, problem, 60, 5);
    expect(strategy.ask(100, 5)).toEqual(strategy.ask(100, 5));
  });

  it('goes on the same from what it was told before', () => {
    const whole = tries(make(problem, 3), problem, 60, 5);
    const again = make(problem, 3);
    for (let at = 0, round = 0; at < 40; round++) {
      const asked = again.ask(round, 5);
      again.proposed(asked);
      again.tell(scores(problem, asked));
      at += asked.length;
      if (at < 40) continue;
      expect(tries(again, problem, 60 - at, 5, round + 1)).toEqual(whole.slice(at));
    }
  });

  it('uses up a small space and stops', () => {
    const small: Problem = { space: space.slice(0, 2), screen: () => ({ costs: [], violation: 0 }) };
    expect(tries(make(small, 1), small, 100, 5)).toHaveLength(16);
  });

  it('asks for nothing where nothing keeps the limit', () => {
    const impossible: Problem = { space, screen: () => ({ costs: [], violation: 1 }) };
    expect(make(impossible, 1).ask(0, 5)).toEqual([]);
  });
});

it('evolution finds better networks than random draws do', () => {
  const single: Problem = { space, screen: (genome) => ({ ...problem.screen(genome), costs: [] }) };
  const best = (name: string): number[] =>
    [1, 2, 3, 4, 5].map((seed) => Math.max(...tries(MAKERS[name]!(single, seed), single, 60, 5).map(score)));
  const [evolved, drawn] = [best('evolution'), best('random search')];
  // 0 0 3 3 3 3 scores 54, and 3 0 0 3 3 3 with its bonus 53.
  expect(Math.min(...evolved)).toBeGreaterThanOrEqual(53);
  expect(Math.max(...drawn)).toBeLessThan(54);
});

it('a network that broke a limit when it was tried is no parent of choice', () => {
  const strategy = new Evolution(problem, { ...EVOLUTION_DEFAULTS, seed: 4, initial: 10, population: 5 });
  const first = strategy.ask(0, 10);
  strategy.proposed(first);
  const told = scores(problem, first).map((one, i) => ({
    ...one,
    violation: i < 4 ? 1 : 0,
    objectives: i < 4 ? [Number.NaN, 0] : one.objectives,
  }));
  strategy.tell(told);
  expect(strategy.ask(1, 8)).toHaveLength(8);
});
