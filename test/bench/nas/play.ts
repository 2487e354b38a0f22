import type { Genome } from '../../../src/search/space.js';
import { LocalSearch, RandomSearch, RegularizedEvolution } from '../../../src/search/strategies/baselines.js';
import { EVOLUTION_DEFAULTS, Evolution } from '../../../src/search/strategies/evolution.js';
import type { Problem, Scored, Strategy } from '../../../src/search/strategies/strategy.js';

/** Networks that are proposed at a time. */
const ROUND = 10;

/** The searches that are compared, by the names of the tables. */
export const SEARCHES: Readonly<Record<string, (problem: Problem, seed: number) => Strategy>> = {
  random: (problem, seed) => new RandomSearch(problem, seed),
  'regularised evolution': (problem, seed) => new RegularizedEvolution(problem, seed),
  'local search': (problem, seed) => new LocalSearch(problem, seed),
  'NSGA-II': (problem, seed) => new Evolution(problem, { ...EVOLUTION_DEFAULTS, seed, assisted: false }),
  '**dopt**': (problem, seed) => new Evolution(problem, { ...EVOLUTION_DEFAULTS, seed }),
};

/**
 * Lets a search try so many networks of a table.
 * @param score of a network, more is better
 * @param visit is called with each network that is tried and how many that makes
 */
export function play(
  problem: Problem,
  strategy: Strategy,
  score: (genome: Genome) => number,
  evaluations: number,
  visit: (genome: Genome, tried: number) => void = () => {},
  size = ROUND,
): void {
  for (let tried = 0, round = 0; tried < evaluations; round++) {
    const asked = strategy.ask(round, Math.min(size, evaluations - tried));
    if (asked.length === 0) return;
    strategy.proposed(asked);
    const scored = asked.map((genome): Scored => {
      const { costs, violation } = problem.screen(genome);
      visit(genome, ++tried);
      return { genome, objectives: [-score(genome), ...costs], violation };
    });
    strategy.tell(scored);
  }
}

/** Mean of some values and the standard error of it, as a cell. */
export function cell(values: readonly number[], digits: number): string {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return `${mean.toFixed(digits)} ± ${Math.sqrt(variance / values.length).toFixed(digits)}`;
}
