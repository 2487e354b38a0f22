import { type Failure, failureSchema } from '../config/search-event.js';
import type { Tried } from './evaluation.js';
import type { Space } from './space.js';

/** Networks of a part of an archive. */
const PART = 1024;
const REASONS: readonly (Failure | null)[] = [null, ...failureSchema.options];

interface Part {
  genes: Uint8Array | Uint16Array;
  objectives: Float64Array;
  violations: Float64Array;
  /** NaN for none, as are epochs. */
  scores: Float64Array;
  epochs: Float64Array;
  reasons: Uint8Array;
}

/**
 * All networks that a search has tried, as numbers in a row: a byte a gene, and what is known of each. As objects they would
 * take several times as much, and a search of many networks would spend its memory on them.
 */
export class Archive {
  private readonly parts: Part[] = [];
  private readonly wide: boolean;
  private count = 0;
  private objectives = 0;

  constructor(private readonly space: Space) {
    this.wide = space.some(({ choices }) => choices > 256);
  }

  get length(): number {
    return this.count;
  }

  /** Puts a network at a place: one that is taken, or the next one. Networks have as many objectives as the first. */
  set(place: number, { genome, objectives, violation, score, epochs, reason }: Tried): void {
    if (this.count === 0) this.objectives = objectives.length;
    if (place === PART * this.parts.length) this.parts.push(this.part());
    this.count = Math.max(this.count, place + 1);
    const part = this.parts[Math.floor(place / PART)]!;
    const at = place % PART;
    part.genes.set(genome, at * this.space.length);
    part.objectives.set(objectives, at * this.objectives);
    part.violations[at] = violation;
    part.scores[at] = score ?? Number.NaN;
    part.epochs[at] = epochs ?? Number.NaN;
    part.reasons[at] = REASONS.indexOf(reason);
  }

  /** All of them, in order: objects that are made anew with each call. */
  all(): Tried[] {
    return Array.from({ length: this.count }, (_, place) => this.at(place));
  }

  private at(place: number): Tried {
    const part = this.parts[Math.floor(place / PART)]!;
    const at = place % PART;
    const numbers = (row: Float64Array | Uint8Array | Uint16Array, size: number): number[] =>
      Array.from(row.subarray(at * size, (at + 1) * size));
    const known = (value: number): number | null => (Number.isNaN(value) ? null : value);
    return {
      genome: numbers(part.genes, this.space.length),
      objectives: numbers(part.objectives, this.objectives),
      violation: part.violations[at]!,
      score: known(part.scores[at]!),
      epochs: known(part.epochs[at]!),
      reason: REASONS[part.reasons[at]!]!,
    };
  }

  private part(): Part {
    const genes = PART * this.space.length;
    return {
      genes: this.wide ? new Uint16Array(genes) : new Uint8Array(genes),
      objectives: new Float64Array(PART * this.objectives),
      violations: new Float64Array(PART),
      scores: new Float64Array(PART),
      epochs: new Float64Array(PART),
      reasons: new Uint8Array(PART),
    };
  }
}
