import type { Draws } from './algorithms/random.js';
import { type Genome, genomeAt, genomeKey, mutate, randomGenome, spaceSize } from './space.js';
import type { Problem } from './strategies/strategy.js';

/** Steps that one repair takes at the most, and draws in search of a network that was not seen. */
const STEPS = 120;
const TRIES = 40;
/** Genomes of a space that is gone through one by one when draws find no more. */
const LISTED = 20_000;

const same = (genome: Genome): Genome => genome;

/** A genome that keeps all limits, from one that may not: single genes are changed as long as less is broken. */
export function repair(problem: Problem, genome: Genome, draws: Draws): Genome | null {
  const { space, screen, canonical = same } = problem;
  let now = canonical(genome);
  let broken = screen(now).violation;
  for (let step = 0; step < STEPS && broken > 0; step++) {
    const next = canonical(mutate(space, now, draws));
    const { violation } = screen(next);
    if (violation <= broken) [now, broken] = [next, violation];
  }
  return broken > 0 ? null : now;
}

/** A genome from `draw`, repaired, that is in none of the sets; null after so many tries. */
export function unseen(
  problem: Problem,
  draws: Draws,
  seen: readonly ReadonlySet<string>[],
  draw: () => Genome,
): Genome | null {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const genome = repair(problem, draw(), draws);
    if (!genome) continue;
    const key = genomeKey(genome);
    if (!seen.some((set) => set.has(key))) return genome;
  }
  return null;
}

/** `count` different random genomes that keep all limits and are in none of the sets; fewer where no more are found. */
export function randomGenomes(
  problem: Problem,
  drawsOf: (index: number) => Draws,
  seen: readonly ReadonlySet<string>[],
  count: number,
): Genome[] {
  const found: Genome[] = [];
  const taken = new Set<string>();
  for (let index = 0; index < count; index++) {
    const draws = drawsOf(index);
    const genome =
      unseen(problem, draws, [...seen, taken], () => randomGenome(problem.space, draws)) ??
      remaining(problem, draws, [...seen, taken]);
    if (!genome) break;
    found.push(genome);
    taken.add(genomeKey(genome));
  }
  return found;
}

/** The next genome of a small space, from a random one on, that keeps all limits and is in none of the sets. */
function remaining(
  { space, screen, canonical = same }: Problem,
  draws: Draws,
  seen: readonly ReadonlySet<string>[],
): Genome | null {
  const size = spaceSize(space);
  if (size > LISTED) return null;
  const start = draws.below(size);
  for (let step = 0; step < size; step++) {
    const genome = canonical(genomeAt(space, (start + step) % size));
    const key = genomeKey(genome);
    if (!seen.some((set) => set.has(key)) && screen(genome).violation === 0) return genome;
  }
  return null;
}
