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

/** Scores networks. A verdict depends on the network alone, not on the others, the order, or the worker. */
export interface Evaluator {
  /** How many networks can be scored at the same time. */
  readonly workers: number;
  /** Rejects with ExternalError PYTHON_DIED or PYTHON_HANG when a worker was lost; it is there again for the next network. */
  score(genome: Genome, worker: number): Promise<Verdict>;
}

/**
 * `synchronous`: rounds are proposed when all networks of the one before have a verdict, so that what is tried does not depend
 * on the number of workers. `steady`: each worker gets its next network when it is done with one, and none waits.
 */
export const MODES = ['synchronous', 'steady'] as const;
export type Mode = (typeof MODES)[number];

export interface SearchOptions {
  problem: Problem;
  strategy: Strategy;
  evaluator: Evaluator;
  journal: SearchJournal;
  mode: Mode;
  /** Networks to be tried in all, and at a time where all wait for each other. */
  evaluations: number;
  size: number;
  /** Costs of a network by limit, for whoever reads the journal. */
  costsOf?: (genome: Genome) => number[];
  /** Called with the number of networks that have a verdict, whenever there is one more. */
  onVerdict?: (done: number) => void;
  /** Called with all networks of closed rounds when another one was closed; once where none was. */
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
  number: number;
  genomes: readonly Genome[];
  verdicts: Map<string, Verdict>;
}

/**
 * Runs a search to its end, from where its journal says it is.
 *
 * What a strategy is told, and in which order, is what the journal says of closed rounds; within a round it is the order of
 * the proposals. A search that was killed is told the same again, and open rounds are finished first.
 * @returns all networks that were tried, in the order in which their rounds were closed
 */
export async function runSearch(options: SearchOptions): Promise<Tried[]> {
  const { evaluator, mode } = options;
  const course = new Course(options);
  const workers = Array.from({ length: evaluator.workers }, (_, worker) => worker);
  const lanes = mode === 'steady' ? workers.map((worker) => [worker]) : [workers];
  await all(lanes.map((lane) => course.run(lane, mode === 'steady' ? 1 : options.size)));
  if (course.untouched) await options.onRound?.(course.tried);
  return course.tried;
}

/** Waits for all, and only then rejects with the first error: nothing is left running. */
async function all(running: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(running)).find(({ status }) => status === 'rejected');
  if (failed) throw (failed as PromiseRejectedResult).reason;
}

/** The state of a running search. */
class Course {
  readonly tried: Tried[] = [];
  untouched = true;
  /** Rounds that were proposed and not closed before the search was killed. */
  private readonly open: Round[] = [];
  private rounds = 0;
  private proposed = 0;
  private judged = 0;
  private failed = false;

  constructor(private readonly options: SearchOptions) {
    const rounds = new Map<number, Round>();
    for (const event of options.journal.replay()) {
      if (event.event === 'proposed')
        rounds.set(
          event.round,
          this.begin({ number: event.round, genomes: event.genomes, verdicts: new Map() }),
        );
      if (event.event === 'scored')
        for (const { genomes, verdicts } of rounds.values())
          if (genomes.some((genome) => genomeKey(genome) === event.key)) {
            verdicts.set(event.key, event);
            this.judged++;
          }
      const closed = event.event === 'closed' ? rounds.get(event.round) : undefined;
      if (!closed) continue;
      this.close(closed);
      rounds.delete(closed.number);
    }
    this.open.push(...rounds.values());
  }

  /** Finishes rounds one after the other with some workers, until there are enough. */
  async run(workers: readonly number[], size: number): Promise<void> {
    for (;;) {
      const round = this.open.shift() ?? this.propose(size);
      if (!round || this.failed) return;
      // Where not, another lane has failed, and its error is the one to be told.
      if (!(await this.finish(round, workers))) return;
      this.options.journal.add({ event: 'closed', round: round.number });
      this.close(round);
      this.untouched = false;
      await this.options.onRound?.(this.tried);
    }
  }

  private propose(size: number): Round | undefined {
    const { strategy, journal, evaluations, costsOf } = this.options;
    const count = Math.min(size, evaluations - this.proposed);
    const genomes = count > 0 ? strategy.ask(this.rounds, count) : [];
    if (genomes.length === 0) return undefined;
    journal.add({
      event: 'proposed',
      round: this.rounds,
      genomes: genomes.map((genome) => [...genome]),
      ...(costsOf && { costs: genomes.map(costsOf) }),
    });
    return this.begin({ number: this.rounds, genomes, verdicts: new Map() });
  }

  private begin(round: Round): Round {
    this.rounds = round.number + 1;
    this.proposed += round.genomes.length;
    this.options.strategy.proposed(round.genomes);
    return round;
  }

  private close({ genomes, verdicts }: Round): void {
    const told = genomes.map((genome) =>
      triedOf(this.options.problem, genome, verdicts.get(genomeKey(genome))!),
    );
    this.options.strategy.tell(told);
    this.tried.push(...told);
  }

  /** Gets a verdict for every network of a round that has none; workers take them as they come. */
  private async finish({ genomes, verdicts }: Round, workers: readonly number[]): Promise<boolean> {
    const { journal, onVerdict } = this.options;
    const queue = genomes.filter((genome) => !verdicts.has(genomeKey(genome)));
    const work = async (worker: number): Promise<void> => {
      for (let genome = queue.shift(); genome && !this.failed; genome = queue.shift())
        try {
          const { key, score, reason } = await this.verdictOf(genome, worker);
          journal.add({ event: 'scored', key, score, reason });
          verdicts.set(key, { key, score, reason });
          onVerdict?.(++this.judged);
        } catch (error) {
          this.failed = true;
          throw error;
        }
    };
    await all(workers.map(work));
    return verdicts.size === genomes.length;
  }

  private async verdictOf(genome: Genome, worker: number): Promise<Verdict> {
    const { evaluator, journal } = this.options;
    const key = genomeKey(genome);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const time = new Date().toISOString();
      journal.add({ event: 'leased', keys: [key], attempt, process: process.pid, worker, time });
      try {
        return await evaluator.score(genome, worker);
      } catch (error) {
        if (!isLost(error)) throw error;
      }
    }
    return { key, score: null, reason: 'died' };
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
