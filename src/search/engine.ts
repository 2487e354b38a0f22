import { DoptError } from '../errors.js';
import type { Halving } from './algorithms/halving.js';
import { Archive } from './archive.js';
import type { Evaluator, Parent, Stage, Training, Tried, Verdict } from './evaluation.js';
import type { SearchJournal } from './journal.js';
import { Rungs, stageKey } from './rungs.js';
import { type Genome, genomeKey, genomeOf } from './space.js';
import type { Problem, Strategy } from './strategies/strategy.js';

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
  /** How the best are trained on; without it all are trained alike. */
  halving?: Halving | null;
  /** Whether networks begin with the weights of those that they are most alike; under halving only. */
  inherit?: boolean;
  /** Whether networks are compared by their loss instead of their score; all verdicts with a score have one then. */
  byLoss?: boolean;
  /** Costs of a network by limit, for whoever reads the journal. */
  costsOf?: (genome: Genome) => number[];
  /** Called with the number of networks that have a verdict, whenever there is one more. */
  onVerdict?: (done: number) => void;
  /** Called with all networks of closed rounds when another one was closed; once where none was. */
  onRound?: (all: Archive) => Promise<void> | void;
}

/** How often a network is tried whose worker was lost. */
const ATTEMPTS = 3;

/** A training of a round. */
interface Task extends Stage, Training {
  genome: Genome;
}

/** What became of a round so far. */
interface Round {
  number: number;
  /** New networks, then those that are trained on. */
  tasks: Task[];
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
  return course.tried.all();
}

/** Waits for all, and only then rejects with the first error: nothing is left running. */
async function all(running: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(running)).find(({ status }) => status === 'rejected');
  if (failed) throw (failed as PromiseRejectedResult).reason;
}

/** The state of a running search. */
class Course {
  readonly tried: Archive;
  untouched = true;
  /** Trainings whose weights there are, but for those of open rounds. */
  private kept: readonly Stage[] = [];
  /** Rounds that are not closed. */
  private readonly running = new Set<Round>();
  /** Rounds that were proposed and not closed before the search was killed. */
  private readonly open: Round[] = [];
  private rounds = 0;
  private proposed = 0;
  private judged = 0;
  private failed = false;
  private readonly rungs: Rungs;
  /** Where networks stand in `tried`, under halving. */
  private readonly places = new Map<string, number>();

  constructor(private readonly options: SearchOptions) {
    this.tried = new Archive(options.problem.space);
    this.rungs = new Rungs(options.problem, options.halving ?? null, options.inherit ?? false);
    const rounds = new Map<number, Round>();
    const events = options.journal.replay();
    const last = events.findLastIndex(({ event }) => event === 'closed');
    let kept: Stage[] = [];
    events.forEach((event, at) => {
      if (event.event === 'proposed') {
        const { round, genomes, epochs = null, parents } = event;
        const begins = (at: number): Parent | null => parentOf(parents?.[at] ?? null);
        rounds.set(
          round,
          this.begin(
            round,
            genomes.map((genome, at) => ({ key: genomeKey(genome), genome, epochs, parent: begins(at) })),
          ),
        );
      }
      if (event.event === 'promoted') this.add(rounds.get(event.round)!, event.stages.map(onwards));
      if (event.event === 'scored')
        for (const round of rounds.values()) {
          const { key, epochs = null } = event;
          const task = round.tasks.find((one) => one.key === key && one.epochs === epochs);
          if (task) this.judge(round, task, event);
          if (task && at > last) kept.push(task);
        }
      const closed = event.event === 'closed' ? rounds.get(event.round) : undefined;
      if (!closed) return;
      this.close(closed);
      rounds.delete(closed.number);
      if (at === last) kept = this.rungs.kept(options.evaluations);
    });
    this.open.push(...rounds.values());
    // As it was when the search was killed, so that what is lost then is what would have been lost anyway.
    if (last >= 0) this.retain(kept);
  }

  /** Finishes rounds one after the other with some workers, until there are enough. */
  async run(workers: readonly number[], size: number): Promise<void> {
    for (;;) {
      const round = this.open.shift() ?? this.propose(size);
      if (!round || this.failed) return;
      // Where not, another lane has failed, and its error is the one to be told.
      do if (!(await this.finish(round, workers))) return;
      while (this.promote(round));
      this.options.journal.add({ event: 'closed', round: round.number });
      this.close(round);
      this.retain(this.rungs.kept(this.options.evaluations));
      this.untouched = false;
      await this.options.onRound?.(this.tried);
    }
  }

  private propose(size: number): Round | undefined {
    const { strategy, journal, evaluations, costsOf, inherit } = this.options;
    const count = Math.min(size, evaluations - this.proposed);
    const genomes = count > 0 ? strategy.ask(this.rounds, count) : [];
    if (genomes.length === 0) return undefined;
    const epochs = this.rungs.first;
    const parents = this.rungs.parents(genomes, this.kept);
    journal.add({
      event: 'proposed',
      round: this.rounds,
      genomes: genomes.map((genome) => [...genome]),
      ...(costsOf && { costs: genomes.map(costsOf) }),
      ...(epochs !== null && { epochs }),
      ...(inherit && { parents: parents.map((one) => one && stageOf(one)) }),
    });
    const tasks = genomes.map(
      (genome, at): Task => ({ key: genomeKey(genome), genome, epochs, parent: parents[at]! }),
    );
    return this.begin(this.rounds, tasks);
  }

  private begin(number: number, tasks: Task[]): Round {
    this.rounds = number + 1;
    this.proposed += tasks.length;
    this.options.strategy.proposed(tasks.map(({ genome }) => genome));
    const round: Round = { number, tasks: [], verdicts: new Map() };
    this.add(round, tasks);
    this.running.add(round);
    return round;
  }

  private add(round: Round, tasks: readonly Task[]): void {
    for (const task of tasks) this.rungs.ask(task);
    round.tasks.push(...tasks);
  }

  /** Adds the networks that go on to a round; false where there are none. */
  private promote(round: Round): boolean {
    const stages = this.rungs.promotions();
    if (stages.length === 0) return false;
    this.options.journal.add({ event: 'promoted', round: round.number, stages });
    this.add(round, stages.map(onwards));
    return true;
  }

  private judge(round: Round, task: Task, verdict: Verdict): void {
    round.verdicts.set(stageKey(task), verdict);
    this.rungs.judge(task.genome, { ...task, score: verdict.score });
    // One that is trained on has had a verdict.
    if (task.epochs === null || task.epochs === this.rungs.first) this.judged++;
  }

  private close(round: Round): void {
    const { problem, strategy, halving, byLoss = false } = this.options;
    const told = new Map<string, Tried>();
    for (const task of round.tasks) {
      const one = triedOf(problem, task, round.verdicts.get(stageKey(task))!, byLoss);
      this.rungs.tell(one);
      told.set(task.key, one);
    }
    for (const [key, one] of told) {
      const place = this.places.get(key) ?? this.tried.length;
      this.tried.set(place, one);
      if (halving) this.places.set(key, place);
    }
    strategy.tell(this.rungs.levelled([...told.values()]));
    this.running.delete(round);
  }

  /** Lets go of all weights but these, those of networks of open rounds, and those that they begin with. */
  private retain(stages: readonly Stage[]): void {
    const { halving, evaluator } = this.options;
    if (!halving) return;
    this.kept = stages;
    const open = [...this.running].flatMap(({ tasks }) =>
      tasks.flatMap(({ key, parent }) => [
        ...(parent ? [stageOf(parent)] : []),
        ...halving.rungs.map((epochs) => ({ key, epochs })),
      ]),
    );
    evaluator.retain?.([...stages, ...open]);
  }

  /** Gets a verdict for every network of a round that has none; workers take them as they come. */
  private async finish(round: Round, workers: readonly number[]): Promise<boolean> {
    const { journal, onVerdict } = this.options;
    const { tasks, verdicts } = round;
    const queue = tasks.filter((task) => !verdicts.has(stageKey(task)));
    const work = async (worker: number): Promise<void> => {
      for (let task = queue.shift(); task && !this.failed; task = queue.shift())
        try {
          const { key, score, loss = null, reason } = await this.verdictOf(task, worker);
          const { epochs } = task;
          const more = { ...(epochs !== null && { epochs }), ...(loss !== null && { loss }) };
          journal.add({ event: 'scored', key, ...more, score, reason });
          this.judge(round, task, { key, score, loss, reason });
          onVerdict?.(this.judged);
        } catch (error) {
          this.failed = true;
          throw error;
        }
    };
    await all(workers.map(work));
    return verdicts.size === tasks.length;
  }

  private async verdictOf({ key, genome, epochs, parent }: Task, worker: number): Promise<Verdict> {
    const { evaluator, journal } = this.options;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const time = new Date().toISOString();
      journal.add({ event: 'leased', keys: [key], attempt, process: process.pid, worker, time });
      try {
        return await evaluator.score(genome, worker, { epochs, parent });
      } catch (error) {
        if (!isLost(error)) throw error;
      }
    }
    return { key, score: null, reason: 'died' };
  }
}

const isLost = (error: unknown): boolean =>
  error instanceof DoptError && (error.code === 'PYTHON_DIED' || error.code === 'PYTHON_HANG');

const stageOf = ({ genome, epochs }: Parent): { key: string; epochs: number } => ({
  key: genomeKey(genome),
  epochs,
});
const parentOf = (stage: { key: string; epochs: number } | null): Parent | null =>
  stage && { genome: genomeOf(stage.key), epochs: stage.epochs };

/** What trains a network on. It may have begun with another's weights; its own are what it goes on from. */
const onwards = ({ key, epochs }: { key: string; epochs: number }): Task => ({
  ...{ key, epochs, genome: genomeOf(key), parent: null },
});

function triedOf(
  problem: Problem,
  { genome, epochs }: Pick<Task, 'genome' | 'epochs'>,
  { score, loss, reason }: Verdict,
  byLoss: boolean,
): Tried {
  const { costs, violation } = problem.screen(genome);
  // A network without a score broke a limit that nobody foresaw.
  const failed = score === null;
  return {
    genome,
    objectives: [failed ? 0 : byLoss ? loss! : -score, ...costs],
    violation: violation + (failed ? 1 : 0),
    epochs,
    score,
    reason,
  };
}
