import type { Failure } from '../config/search-event.js';
import type { Genome } from './space.js';
import type { Scored } from './strategies/strategy.js';

/** What an evaluator says of a network. */
export interface Verdict {
  key: string;
  score: number | null;
  /** Its loss on the validation data after it went on from shared weights, where it did. */
  loss?: number | null | undefined;
  reason: Failure | null;
}

/** Training that a network is to get or has got: so many epochs in all, null for what the evaluator gives every network. */
export interface Stage {
  key: string;
  epochs: number | null;
}

/** A network whose weights another one begins with. */
export interface Parent {
  genome: Genome;
  epochs: number;
}

/** How a network is to be trained. */
export interface Training {
  /** Epochs in all; null for what the evaluator gives every network. */
  epochs: number | null;
  /** The network whose weights it begins with. */
  parent: Parent | null;
}

/** How networks go on from shared weights: for so many batches, as often as there are seeds, and what their loss is of then. */
export interface Tune {
  batches: number;
  seeds: number;
  loss?: 'validation';
}

/** Scores networks. A verdict depends on the network and its training alone, not on the others, the order, or the worker. */
export interface Evaluator {
  /** How many networks can be scored at the same time. */
  readonly workers: number;
  /** Rejects with ExternalError PYTHON_DIED or PYTHON_HANG when a worker was lost; it is there again for the next network. */
  score(genome: Genome, worker: number, training?: Training): Promise<Verdict>;
  /** Weights of all other trainings will not be asked for again. */
  retain?(stages: readonly Stage[]): void;
}

/** A network of a finished round. */
export interface Tried extends Scored {
  /** Epochs that it was trained for, where networks differ in that. */
  epochs: number | null;
  score: number | null;
  reason: Failure | null;
}
