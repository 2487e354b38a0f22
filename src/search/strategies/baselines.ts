import { ranking } from '../algorithms/dominance.js';
import { Draws } from '../algorithms/random.js';
import { randomGenomes, unseen } from '../feasible.js';
import { type Genome, genomeKey, mutate, neighbours } from '../space.js';
import type { Problem, Scored, Strategy } from './strategy.js';

/** What strategies without a plan share: what was proposed, and random networks. */
abstract class Baseline implements Strategy {
  protected readonly seen = new Set<string>();

  constructor(
    protected readonly problem: Problem,
    protected readonly seed: number,
  ) {}

  abstract ask(round: number, count: number): Genome[];
  abstract tell(scored: readonly Scored[]): void;

  proposed(genomes: readonly Genome[]): void {
    for (const genome of genomes) this.seen.add(genomeKey(genome));
  }

  protected random(round: number, count: number): Genome[] {
    return randomGenomes(this.problem, (index) => new Draws(this.seed, round, index), [this.seen], count);
  }
}

/** Networks drawn at random: what every other strategy has to beat. */
export class RandomSearch extends Baseline {
  ask(round: number, count: number): Genome[] {
    return this.random(round, count);
  }

  tell(): void {}
}

/**
 * Regularised evolution (Real et al., "Regularized evolution for image classifier architecture search", AAAI 2019,
 * algorithm 1): the best of a sample of the population gets a child with one gene changed, and the oldest network goes.
 */
export class RegularizedEvolution extends Baseline {
  private population: Scored[] = [];
  /** Those that have gone: a newer score does not bring them back. */
  private readonly aged = new Set<string>();

  constructor(
    problem: Problem,
    seed: number,
    private readonly size = 50,
    private readonly sample = 10,
  ) {
    super(problem, seed);
  }

  ask(round: number, count: number): Genome[] {
    if (this.population.length < this.size) return this.random(round, Math.min(count, this.size));
    const found: Genome[] = [];
    const taken = new Set<string>();
    for (let index = 0; index < count; index++) {
      const draws = new Draws(this.seed, round, index, 1);
      const entrants = Array.from({ length: this.sample }, () => draws.pick(this.population));
      const parent = entrants[ranking(entrants)[0]!]!.genome;
      const child = unseen(this.problem, draws, [this.seen, taken], () =>
        mutate(this.problem.space, parent, draws),
      );
      if (!child) continue;
      found.push(child);
      taken.add(genomeKey(child));
    }
    return found.length > 0 ? found : this.random(round, count);
  }

  tell(scored: readonly Scored[]): void {
    const newer = new Map(scored.map((one) => [genomeKey(one.genome), one]));
    const known = this.population.map((one) => newer.get(genomeKey(one.genome)) ?? one);
    const kept = new Set(known.map(({ genome }) => genomeKey(genome)));
    const others = scored.filter(
      ({ genome }) => !kept.has(genomeKey(genome)) && !this.aged.has(genomeKey(genome)),
    );
    const all = [...known, ...others];
    for (const { genome } of all.slice(0, -this.size)) this.aged.add(genomeKey(genome));
    this.population = all.slice(-this.size);
  }
}

/**
 * Local search (White et al., "Local search is state of the art for neural architecture search benchmarks", 2020,
 * algorithm 1): all networks one gene away from the best one, one after the other, until one of them is better; where none
 * is, from another random network. Of several objectives it follows the first alone.
 */
export class LocalSearch extends Baseline {
  private at: Scored | null = null;
  /** Counts the networks that it stood at, so that each has its own order of neighbours. */
  private moves = 0;

  ask(round: number, count: number): Genome[] {
    const { at } = this;
    if (!at) return this.random(round, Math.min(count, 1));
    const { space, canonical = (genome: Genome) => genome } = this.problem;
    const near = neighbours(space, at.genome, new Draws(this.seed, this.moves, 0, 1)).map(canonical);
    const open = [...new Map(near.map((genome) => [genomeKey(genome), genome])).values()].filter(
      (genome) => !this.seen.has(genomeKey(genome)) && this.problem.screen(genome).violation === 0,
    );
    if (open.length > 0) return open.slice(0, count);
    this.at = null;
    return this.random(round, Math.min(count, 1));
  }

  tell(scored: readonly Scored[]): void {
    for (const one of scored) {
      if (one.violation > 0 || (this.at && one.objectives[0]! >= this.at.objectives[0]!)) continue;
      this.at = one;
      this.moves++;
    }
  }
}
