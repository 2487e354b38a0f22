import type { Draws } from '../algorithms/random.js';
import { unseen } from '../feasible.js';
import { crossOver, type Genome, genomeKey, mutate, type Space } from '../space.js';
import type { Problem } from './strategy.js';

/** Anything with a genome, from the best to the worst. */
export type Parents = readonly { genome: Genome }[];

/** The better of two parents drawn at random. */
const parentOf = (parents: Parents, draws: Draws): Genome =>
  parents[Math.min(draws.below(parents.length), draws.below(parents.length))]!.genome;

/** A child of one parent with a gene or two changed, or of two parents, with a gene changed or none. */
function childOf(space: Space, parents: Parents, draws: Draws): Genome {
  if (draws.next() < 0.5) return mutate(space, parentOf(parents, draws), draws, draws.next() < 0.8 ? 1 : 2);
  const crossed = crossOver(parentOf(parents, draws), parentOf(parents, draws), draws);
  return draws.next() < 0.5 ? crossed : mutate(space, crossed, draws);
}

/**
 * `count` different children that keep all limits and are in none of the sets; fewer where no more are found.
 * @param drawsOf the numbers that each child is made with
 */
export function breed(
  problem: Problem,
  parents: Parents,
  drawsOf: (index: number) => Draws,
  seen: readonly ReadonlySet<string>[],
  count: number,
): Genome[] {
  const found: Genome[] = [];
  const own = new Set<string>();
  for (let index = 0; index < count; index++) {
    const draws = drawsOf(index);
    const child = unseen(problem, draws, [...seen, own], () => childOf(problem.space, parents, draws));
    if (!child) continue;
    found.push(child);
    own.add(genomeKey(child));
  }
  return found;
}
