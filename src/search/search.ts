import { join } from 'node:path';
import type { FrontNetwork } from '../config/pareto.js';
import { UserError } from '../errors.js';
import { digestOf } from '../run/digest.js';
import { lockRun } from '../run/lock.js';
import type { Archive } from './archive.js';
import { runSearch } from './engine.js';
import type { Tried } from './evaluation.js';
import { halvingIn, pythonEvaluator, removeWeights, tuneOf } from './evaluator.js';
import { SearchJournal } from './journal.js';
import { type OpenOptions, openSearch, requireGpus, workFolder } from './open.js';
import { profileSpace, refuseImpossible } from './profile.js';
import { frontOf, writePage, writePicture, writeResults } from './results.js';
import { requireData } from './run-params.js';
import { LocalSearch, RandomSearch, RegularizedEvolution } from './strategies/baselines.js';
import { EVOLUTION_DEFAULTS, Evolution } from './strategies/evolution.js';
import type { Problem, Strategy } from './strategies/strategy.js';
import { volumeOf } from './volume.js';

export const STRATEGIES = ['evolution', 'regularized', 'local', 'random'] as const;
export type StrategyName = (typeof STRATEGIES)[number];

export interface SearchRunOptions extends Omit<OpenOptions, 'work'> {
  out: string;
  strategy: StrategyName;
  /** Processes that score at the same time where the scenario names no GPU, and on a cluster. */
  workers: number;
  /** Address of a Ray cluster whose machines train and score; null, as without it, for this one. */
  cluster?: string | null;
  /** Goes on under changed settings, all scores kept. */
  extend: boolean;
}

export interface SearchResult {
  version: 1;
  tried: number;
  failed: number;
  /** Share of the volume between the worst score and the highest cost that was tried. */
  hypervolume: number;
  networks: FrontNetwork[];
}

/** Networks that are scored at a time. */
const ROUND = 10;
/** Time between two versions of the page, and of the line in the terminal. */
const PAGE_EVERY_MS = 3000;

/**
 * Searches networks for a scenario: trains shared weights, then lets a strategy try networks, and writes those that none
 * beats. A search that was cut off goes on from its journal.
 *
 * Rejects as `openSearch` and `pythonEvaluator` do, with UserError SEARCH_IMPOSSIBLE, SEARCH_CHANGED, SEARCH_EMPTY,
 * RUN_LOCKED, and EnvironmentError GPU_UNAVAILABLE.
 */
export async function search(options: SearchRunOptions): Promise<SearchResult> {
  const { out, progress } = options;
  if (options.cluster && options.environment === 'docker') throw noContainers(options.cluster);
  const work = workFolder(out);
  const open = await openSearch({ ...options, work });
  const { scenario, problem, costs, skeleton, limits } = open;
  const { seed, generation_num, pop_size } = scenario.searcher;
  refuseImpossible(profileSpace(problem, costs, seed), options.scenario);
  requireData(open, options.scenario);
  // Machines of a cluster have GPUs of their own, which Ray counts.
  if (!options.cluster) await requireGpus(scenario, open.environment, options.signal);
  const unlock = lockRun(join(work, 'lock'), out);
  try {
    const { searcher: _, notes: __, resource: ___, ...decides } = scenario;
    const tune = tuneOf(scenario);
    const digest = digestOf({
      ...{ decides, skeleton, limits, seed, pop_size, strategy: options.strategy },
      // What is left out of a scenario decides too.
      ...(tune.batches > 0 && { tune }),
    });
    const settings = { digest, space: digestOf({ skeleton }), ...(tune.batches > 0 && { tune }) };
    const journal = new SearchJournal(join(work, 'search.ndjson'), settings, options.extend);
    // Weights of a search that was changed before it tried anything are not those of this one.
    if (journal.replaced) removeWeights(work);
    const evaluator = await pythonEvaluator(open, work, options);
    const evaluations = journal.carried + generation_num * pop_size;
    const stage = progress.stage('Try networks');
    const show = throttled(PAGE_EVERY_MS, async (archive: Archive) => {
      const all = archive.all();
      stage.update(all.length, evaluations, lineOf(all));
      await writePage(open, all, out);
    });
    const tried = await runSearch({
      problem,
      strategy: strategyOf(options.strategy, problem, seed, pop_size),
      evaluator,
      journal,
      mode: scenario.searcher.mode,
      evaluations,
      size: Math.min(ROUND, pop_size),
      byLoss: tune.batches > 0 && journal.haveLosses,
      halving: halvingIn(scenario),
      inherit: scenario.evaluator.inherit,
      costsOf: (genome) => costs.of(genome),
      onVerdict: (done) => stage.update(done, evaluations),
      onRound: show,
    })
      .then(async (all) => {
        await writePicture(evaluator.session, open, all, { out, work });
        return all;
      })
      .finally(evaluator.close);
    stage.done(lineOf(tried));
    await writePage(open, tried, out);
    const networks = await writeResults(open, tried, out);
    if (networks.length === 0) throw nothingFound(tried, options.scenario);
    const failed = tried.filter(({ score }) => score === null).length;
    return {
      version: 1,
      tried: tried.length,
      failed,
      hypervolume: volumeOf(tried),
      networks,
    };
  } finally {
    unlock();
  }
}

function strategyOf(name: StrategyName, problem: Problem, seed: number, population: number): Strategy {
  if (name === 'random') return new RandomSearch(problem, seed);
  if (name === 'local') return new LocalSearch(problem, seed);
  if (name === 'regularized') return new RegularizedEvolution(problem, seed);
  const initial = Math.min(EVOLUTION_DEFAULTS.initial, population);
  return new Evolution(problem, { ...EVOLUTION_DEFAULTS, seed, population, initial });
}

/** `work`, but no more often than every so many milliseconds; what comes in between is left out. */
function throttled<T>(ms: number, work: (value: T) => Promise<void>): (value: T) => Promise<void> {
  let last = Number.NEGATIVE_INFINITY;
  return async (value) => {
    const now = performance.now();
    if (now - last < ms) return;
    last = now;
    await work(value);
  };
}

function lineOf(tried: readonly Tried[]): string {
  const front = frontOf(tried);
  const best = front.reduce((most, { score }) => Math.max(most, score!), Number.NEGATIVE_INFINITY);
  return `${front.length} on the front, best ${best.toPrecision(4)}, volume ${volumeOf(tried).toFixed(3)}`;
}

const noContainers = (place: string): UserError =>
  new UserError('SEARCH_UNSUPPORTED', 'Workers of a Ray cluster run in no container of this machine.', {
    place,
    expected: '--executor ray with --env venv or system, or --executor local',
  });

function nothingFound(tried: readonly Tried[], place: string): UserError {
  const reasons = [...new Set(tried.map(({ reason }) => reason).filter((reason) => reason !== null))];
  return new UserError('SEARCH_EMPTY', `None of ${tried.length} networks could be scored.`, {
    place,
    found: reasons.join(', ') || 'no network',
    suggestions: [
      'Lower learning_rate or batch_size, and check loss_func and metrics_func on a single batch.',
    ],
  });
}
