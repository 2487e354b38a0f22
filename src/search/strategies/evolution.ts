import { ranking } from '../algorithms/dominance.js';
import { Draws } from '../algorithms/random.js';
import { randomGenomes } from '../feasible.js';
import { type Genome, genomeKey } from '../space.js';
import { Proposals } from '../surrogate/proposals.js';
import { breed } from './breeding.js';
import type { Problem, Scored, Strategy } from './strategy.js';

export interface EvolutionSettings {
  seed: number;
  /** Networks that stay. */
  population: number;
  /** Random networks before anything is bred. */
  initial: number;
  /** Whether fits of the scores so far pick most of what is tried. */
  assisted: boolean;
  /** Share of the places that go to networks bred without them, so that what they are wrong about gets found out. */
  unassisted: number;
}

export const EVOLUTION_DEFAULTS: Omit<EvolutionSettings, 'seed'> = {
  population: 40,
  initial: 20,
  assisted: true,
  unassisted: 0.2,
};

/**
 * NSGA-II (Deb et al., "A fast and elitist multiobjective genetic algorithm", 2002): networks are bred from the better
 * ones, and the best of old and new stay, by fronts and by the room that they have in a front. Nothing is tried twice,
 * changes are small, and limits are kept before anything is tried; with surrogates (`Proposals`) few networks are tried
 * that a look at the others would have ruled out. Rounds may be of any size: one at a time is its steady state.
 */
export class Evolution implements Strategy {
  private readonly seen = new Set<string>();
  private readonly proposals: Proposals;
  private population: Scored[] = [];
  /** The first networks that were told, until there are enough of them. */
  private readonly told = new Set<string>();

  constructor(
    private readonly problem: Problem,
    private readonly settings: EvolutionSettings,
  ) {
    this.proposals = new Proposals(problem, settings.seed);
  }

  ask(round: number, count: number): Genome[] {
    const { seed, initial, assisted, unassisted } = this.settings;
    const drawsOf =
      (stream: number) =>
      (index: number): Draws =>
        new Draws(seed, round, index, stream);
    if (this.told.size < initial || this.population.length < 2) {
      const missing = Math.max(1, initial - this.seen.size);
      return randomGenomes(this.problem, drawsOf(0), [this.seen], Math.min(count, missing));
    }
    // A fraction of a place is drawn, so that the share holds for single places too.
    const free = assisted ? Math.floor(count * unassisted + drawsOf(1)(0).next()) : count;
    const found = this.proposals.propose(round, this.population, this.seen, count - free);
    const taken = new Set(found.map(genomeKey));
    found.push(...breed(this.problem, this.population, drawsOf(2), [this.seen, taken], count - found.length));
    if (found.length > 0) return found;
    return randomGenomes(this.problem, drawsOf(3), [this.seen], count);
  }

  proposed(genomes: readonly Genome[]): void {
    for (const genome of genomes) this.seen.add(genomeKey(genome));
  }

  tell(scored: readonly Scored[]): void {
    const again = new Set(scored.map(({ genome }) => genomeKey(genome)));
    // How many there are is of interest only as long as there are few.
    for (const key of again) if (this.told.size < this.settings.initial) this.told.add(key);
    const others = this.population.filter(({ genome }) => !again.has(genomeKey(genome)));
    const all = [...others, ...scored];
    this.population = ranking(all)
      .slice(0, this.settings.population)
      .map((index) => all[index]!);
    if (this.settings.assisted) this.proposals.tell(scored);
  }
}
