import { Draws } from '../algorithms/random.js';
import { repair } from '../feasible.js';
import type { Genome } from '../space.js';
import type { Problem } from '../strategies/strategy.js';

/** Networks of a deck: a multiple of every number of choices, so that each stands in it equally often. */
const CARDS = 240;

/**
 * Networks that shared weights are trained with in turn: every choice of every gene equally often (strict fairness: Chu et
 * al., "FairNAS", ICCV 2021, section 3.2), then changed as little as it takes to keep the limits, so that weights learn what
 * the search will ask of them. What cannot be changed so is left out.
 */
export function deckOf(problem: Problem, seed: number): Genome[] {
  const columns = problem.space.map(({ choices }, gene) => {
    const values = Array.from({ length: CARDS }, (_, card) => card % choices);
    const draws = new Draws(seed, 0, gene, 100);
    for (let last = CARDS - 1; last > 0; last--) {
      const other = draws.below(last + 1);
      [values[last], values[other]] = [values[other]!, values[last]!];
    }
    return values;
  });
  const cards = Array.from({ length: CARDS }, (_, card) => columns.map((column) => column[card]!));
  const kept = cards
    .map((genome, card) => repair(problem, genome, new Draws(seed, 0, card, 101)))
    .filter((genome) => genome !== null);
  return kept.length > 0 ? kept : cards.map((genome) => problem.canonical?.(genome) ?? genome);
}
