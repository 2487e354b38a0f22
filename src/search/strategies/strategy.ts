import type { Judged } from '../algorithms/dominance.js';
import type { Genome, Space } from '../space.js';

/** What is known of a network before anything is trained. */
export interface Screen {
  /** Costs that are objectives, all minimised. */
  costs: readonly number[];
  /** By how much limits are broken, as a share of them; 0 where none is. */
  violation: number;
  /** What else a fit may learn from, each in a range of about one: logarithms of costs, counts of choices. */
  features?: readonly number[];
}

/** A network with what it scored: the first objective is the score with its sign turned, the others are its costs. */
export interface Scored extends Judged {
  genome: Genome;
}

/** What a search is about. */
export interface Problem {
  space: Space;
  /** The form that all genomes of one network share; missing where each is a network of its own. */
  readonly canonical?: (genome: Genome) => Genome;
  /** A pure function, called for thousands of candidates a second. */
  readonly screen: (genome: Genome) => Screen;
}

/**
 * Decides which networks are tried. All decisions follow from the seed, the number of the round and what was told: the
 * same calls give the same networks, so that a search goes on from its journal as if it had never stopped.
 */
export interface Strategy {
  /**
   * Networks to be scored, none proposed before and none that breaks a limit; fewer than `count` where no others are
   * found. Nothing changes until `proposed` is called with them.
   */
  ask(round: number, count: number): Genome[];
  /** These are being scored. */
  proposed(genomes: readonly Genome[]): void;
  /** These were scored, in this order. One that was told before has another score now, by more training. */
  tell(scored: readonly Scored[]): void;
}
