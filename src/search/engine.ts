import type { Failure } from '../config/search-event.js';
import { DoptError } from '../errors.js';
import type { SearchJournal } from './journal.js';
import { type Genome, genomeKey } from './space.js';
import type { Problem, Scored, Strategy } from './strategies/strategy.js';

/** What an evaluator says of a network. */
export interface Verdict {
  key: string;
  score: number | null;
  reason: Failure | null;
}

/** Trains and scores networks. A verdict depends on the network alone, not on the others or on the order. */
export interface Evaluator {
  /**
   * Reports each verdict as it comes. Rejects with ExternalError PYTHON_DIED or PYTHON_HANG when a worker was lost, and then
   * networks without a verdict are tried again.
   */
  score(genomes: readonly Genome[], report: (verdict: Verdict) => void): Promise<void>;
}

export interface SearchOptions {
  problem: Problem;
  strategy: Strategy;
  evaluator: Evaluator;
  journal: SearchJournal;
  /** Networks to be tried in all, and at a time. */
  evaluations: number;
  size: number;
  /** Called with all networks after each round that was not closed before, and after the last. */
  onRound?: (all: readonly Tried[]) => Promise<void> | void;
}

/** A network of a finished round. */
export interface Tried extends Scored {
  score: number | null;
  reason: Failure | null;
}

/** How often a network is tried whose worker was lost. */
const ATTEMPTS = 3;

/** What became of a round so far. */
interface Round {
  genomes: readonly Genome[];
  verdicts: Map<string, Verdict>;
  closed: boolean;
}

/**
 * Runs a search to its end, from where its journal says it is.
 *
 * Rounds are told to the strategy in the order of their proposals, whoever finished first, so that what is tried next does
 * not depend on how many evaluators there are, nor on when one of them was killed.
 * @returns all networks that were tried, in the order of their proposals
 */
export async function runSearch(options: SearchOptions): Promise<Tried[]> {
  const { problem, strategy, evaluator, journal, evaluations, size, onRound } = options;
  const rounds = roundsOf(journal);
  const tried: Tried[] = [];
  for (let number = 0; tried.length < evaluations || number < rounds.length; number++) {
    let round = rounds[number];
    if (!round) {
      const genomes = strategy.ask(number, Math.min(size, evaluations - tried.length));
      if (genomes.length === 0) break;
      journal.add({ event: 'proposed', round: number, genomes: genomes.map((genome) => [...genome]) });
      round = { genomes, verdicts: new Map(), closed: false };
    }
    strategy.proposed(round.genomes);
    const wasClosed = round.closed;
    if (!wasClosed) {
      await finish(round, evaluator, journal);
      journal.add({ event: 'closed', round: number });
    }
    const told = round.genomes.map((genome) =>
      triedOf(problem, genome, round.verdicts.get(genomeKey(genome))!),
    );
    strategy.tell(told);
    tried.push(...told);
    if (!wasClosed || tried.length >= evaluations) await onRound?.(tried);
  }
  return tried;
}

/** The rounds that a journal tells of. */
function roundsOf({ events }: SearchJournal): Round[] {
  const rounds: Round[] = [];
  for (const event of events) {
    if (event.event === 'proposed')
      rounds.push({ genomes: event.genomes, verdicts: new Map(), closed: false });
    const last = rounds.at(-1);
    if (!last) continue;
    if (event.event === 'scored') last.verdicts.set(event.key, event);
    if (event.event === 'closed') last.closed = true;
  }
  return rounds;
}

/** Gets a verdict for every network of a round that has none. */
async function finish(round: Round, evaluator: Evaluator, journal: SearchJournal): Promise<void> {
  const record = ({ key, score, reason }: Verdict): void => {
    journal.add({ event: 'scored', key, score, reason });
    round.verdicts.set(key, { key, score, reason });
  };
  const left = (): Genome[] => round.genomes.filter((genome) => !round.verdicts.has(genomeKey(genome)));
  for (let attempt = 1; left().length > 0; attempt++) {
    const open = left();
    if (attempt > ATTEMPTS) {
      for (const genome of open) record({ key: genomeKey(genome), score: null, reason: 'died' });
      return;
    }
    const time = new Date().toISOString();
    journal.add({ event: 'leased', keys: open.map(genomeKey), attempt, process: process.pid, time });
    // From the second attempt on each by itself, so that one that kills its worker takes no other along.
    for (const part of attempt === 1 ? [open] : open.map((genome) => [genome]))
      try {
        await evaluator.score(part, record);
      } catch (error) {
        if (!isLost(error)) throw error;
      }
  }
}

const isLost = (error: unknown): boolean =>
  error instanceof DoptError && (error.code === 'PYTHON_DIED' || error.code === 'PYTHON_HANG');

function triedOf(problem: Problem, genome: Genome, { score, reason }: Verdict): Tried {
  const { costs, violation } = problem.screen(genome);
  // A network without a score broke a limit that nobody foresaw.
  const failed = score === null;
  return {
    genome,
    objectives: [failed ? 0 : -score, ...costs],
    violation: violation + (failed ? 1 : 0),
    score,
    reason,
  };
}
