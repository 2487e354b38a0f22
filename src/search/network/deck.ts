import { Draws } from '../algorithms/random.js';
import { repair } from '../feasible.js';
import type { Genome } from '../space.js';
import type { Problem } from '../strategies/strategy.js';
import { type LayerChoices, layerChoices, type Skeleton } from './layers.js';

/** Networks of a deck, and networks to choose each from. */
const CARDS = 240;
const POOL = 4;

/**
 * Networks that shared weights are trained with in turn. All keep the limits, so that weights learn what the search will
 * ask of them; of those, a deck is chosen in which every kind of block of every layer, and within it every window, expansion
 * and width, stands as equally often as the limits allow (strict fairness: Chu et al., "FairNAS", ICCV 2021, section 3.2).
 * Networks that are only changed until they keep the limits are mostly made of what costs least.
 */
export function deckOf(problem: Problem, skeleton: Skeleton, seed: number): Genome[] {
  const cards = fairCards(problem, seed);
  const kept = cards
    .map((genome, card) => repair(problem, genome, new Draws(seed, 0, card, 101)))
    .filter((genome) => genome !== null);
  const pool = kept.length > 0 ? kept : cards.map((genome) => problem.canonical?.(genome) ?? genome);
  return balanced(pool.map((genome) => layerChoices(skeleton, genome))).map((index) => pool[index]!);
}

/** Genomes with every choice of every gene equally often. */
function fairCards({ space }: Problem, seed: number): Genome[] {
  const count = CARDS * POOL;
  const columns = space.map(({ choices }, gene) => {
    const values = Array.from({ length: count }, (_, card) => card % choices);
    const draws = new Draws(seed, 0, gene, 100);
    for (let last = count - 1; last > 0; last--) {
      const other = draws.below(last + 1);
      [values[last], values[other]] = [values[other]!, values[last]!];
    }
    return values;
  });
  return Array.from({ length: count }, (_, card) => columns.map((column) => column[card]!));
}

/**
 * Indices of the networks of a deck, each the one whose choices the ones before it have had least often. A layer counts as
 * often as its kind of block has been there, and as its other choices have, in the mean and as if each had as many
 * alternatives as there are; a skip has no others.
 */
function balanced(pool: readonly (readonly LayerChoices[])[]): number[] {
  const numbers = new Map<string, number>();
  const numberOf = (name: string): number => {
    const known = numbers.get(name) ?? numbers.size;
    numbers.set(name, known);
    return known;
  };
  const networks = pool.map((layers) =>
    layers.flatMap(({ block, others }, layer) => {
      const kind = { choice: numberOf(`${layer} ${block}`), weight: others.length > 0 ? 1 : 2 };
      const rest = others.map(({ gene, value, choices }) => ({
        choice: numberOf(`${layer} ${block} ${gene} ${value}`),
        weight: choices / others.length,
      }));
      return [kind, ...rest];
    }),
  );
  const had = new Float64Array(numbers.size);
  const left = networks.map((_, index) => index);
  const deck: number[] = [];
  while (deck.length < CARDS && left.length > 0) {
    let [least, place] = [Number.POSITIVE_INFINITY, 0];
    left.forEach((index, at) => {
      let familiar = 0;
      for (const { choice, weight } of networks[index]!) familiar += weight * had[choice]!;
      if (familiar < least) [least, place] = [familiar, at];
    });
    const [index] = left.splice(place, 1) as [number];
    deck.push(index);
    for (const { choice } of networks[index]!) had[choice]!++;
  }
  return deck;
}
