import { dominates } from './algorithms/dominance.js';
import { gains, type Halving, type Placed, type Promotion, promotions } from './algorithms/halving.js';
import type { Parent, Stage, Tried, Verdict } from './evaluation.js';
import { type Genome, genomeKey } from './space.js';
import type { Problem, Scored } from './strategies/strategy.js';

export const stageKey = ({ key, epochs }: Stage): string => `${key} ${epochs}`;

/**
 * What is known of networks by how long they were trained, and what follows from it: who goes on, what scores of different
 * rungs mean to a strategy, whose weights are still of use. Without rungs every network is trained once.
 */
export class Rungs {
  private readonly asked = new Set<string>();
  private readonly placed: Placed[][];
  /** Scores of networks of closed rounds, by rung. */
  private readonly told = new Map<string, { genome: Genome; scores: number[] }>();

  /** @param inherit whether networks begin with the weights of those that they are most alike */
  constructor(
    private readonly problem: Problem,
    private readonly halving: Halving | null,
    private readonly inherit: boolean,
  ) {
    this.placed = (halving?.rungs ?? []).map(() => []);
  }

  /** Epochs of networks that are new. */
  get first(): number | null {
    return this.halving?.rungs[0] ?? null;
  }

  /** A training was asked for. */
  ask(stage: Stage): void {
    if (this.halving) this.asked.add(stageKey(stage));
  }

  /** A training has ended. */
  judge(genome: Genome, { key, epochs, score }: Stage & Pick<Verdict, 'score'>): void {
    const rung = this.rungOf(epochs);
    if (rung < 0) return;
    const { costs, violation } = this.problem.screen(genome);
    const failed = score === null;
    const objectives = [failed ? 0 : -score, ...costs];
    this.placed[rung]!.push({ key, objectives, violation: violation + (failed ? 1 : 0) });
  }

  /** Networks that go on. */
  promotions(): Promotion[] {
    if (!this.halving) return [];
    return promotions(this.halving, this.placed, (key, epochs) => this.asked.has(stageKey({ key, epochs })));
  }

  /** A network of a closed round: from now on it counts for what scores are compared by. */
  tell({ genome, epochs, score }: Tried): void {
    const rung = this.rungOf(epochs);
    if (rung < 0 || score === null) return;
    const key = genomeKey(genome);
    const known = this.told.get(key);
    if (known) known.scores[rung] = score;
    else if (rung === 0) this.told.set(key, { genome, scores: [score] });
  }

  /** Networks with the scores that they would have at the first rung, as far as that can be said. */
  levelled(tried: readonly Tried[]): Scored[] {
    if (!this.halving) return [...tried];
    const lower = gains(
      this.halving.rungs.length,
      [...this.told.values()].map(({ scores }) => scores),
    );
    return tried.map((one) => {
      const rung = this.rungOf(one.epochs);
      if (rung <= 0 || one.score === null) return one;
      const [score, ...costs] = one.objectives;
      return { ...one, objectives: [score! + lower[rung]!, ...costs] };
    });
  }

  /**
   * Trainings whose weights may be asked for again: of networks that can still go on among `evaluations` networks, and of
   * those that others may begin with. What is not among them once never is again.
   */
  kept(evaluations: number): Stage[] {
    if (!this.halving) return [];
    const { rungs, factor } = this.halving;
    let most = evaluations;
    return rungs.flatMap((epochs, rung) => {
      most = Math.floor(most / factor);
      const all = this.placed[rung]!;
      const last = rung === rungs.length - 1;
      if (last && !this.inherit) return [];
      const further = new Set(this.placed[rung + 1]?.map(({ key }) => key));
      return all
        .filter((one) => !further.has(one.key) && (last || betters(all, one) < most))
        .map(({ key }) => ({ key, epochs }));
    });
  }

  /**
   * For each new network the one of a closed round that it has most genes in common with, of those that weights are kept of;
   * of several the one with the best score. Null where networks begin anew.
   */
  parents(genomes: readonly Genome[], kept: readonly Stage[]): (Parent | null)[] {
    const able = this.inherit ? this.able(kept) : [];
    return genomes.map((genome) => {
      const apart = able.map((one) => distance(one.genome, genome));
      const least = Math.min(...apart);
      const near = able.filter((_, index) => apart[index] === least);
      const best = near.reduce<(typeof near)[number] | null>(
        (most, one) => (most && most.score >= one.score ? most : one),
        null,
      );
      return best && { genome: best.genome, epochs: best.epochs };
    });
  }

  /** Networks of closed rounds that weights are kept of. */
  private able(kept: readonly Stage[]): (Parent & { score: number })[] {
    return kept.flatMap(({ key, epochs }) => {
      const known = this.told.get(key);
      const score = known?.scores[this.rungOf(epochs)];
      return known && epochs !== null && score !== undefined ? [{ genome: known.genome, epochs, score }] : [];
    });
  }

  private rungOf(epochs: number | null): number {
    return epochs === null || !this.halving ? -1 : this.halving.rungs.indexOf(epochs);
  }
}

/** How many are better in all; they will always be chosen before it. */
const betters = (all: readonly Placed[], one: Placed): number =>
  all.reduce((count, other) => count + (dominates(other, one) ? 1 : 0), 0);

/** Genes in which two genomes differ. */
const distance = (a: Genome, b: Genome): number =>
  a.reduce((sum, value, gene) => sum + (value === b[gene] ? 0 : 1), 0);
