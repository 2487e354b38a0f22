import type { SearchEvent } from '../config/search-event.js';
import type { Tried } from './evaluation.js';
import { carriedOf, haveLosses } from './journal.js';
import { frontOf } from './results.js';
import { genomeKey } from './space.js';
import { volumeOf } from './volume.js';

/** How a search stands, by its journal. */
export interface SearchStatus {
  version: 1;
  state: 'training' | 'running' | 'stopped' | 'finished';
  /** Networks with a verdict, and networks in all. */
  tried: number;
  of: number;
  /** Generations that are done, and how many there are. */
  generation: number;
  generations: number;
  failed: Record<string, number>;
  best: number | null;
  front: number;
  /** Share of the volume between the worst score and the highest cost that was tried. */
  hypervolume: number;
  /** Seconds that one network takes, and all that are left; null while there is nothing to tell them by. */
  secondsEach: number | null;
  secondsLeft: number | null;
  workers: WorkerStatus[];
}

export interface WorkerStatus {
  worker: number;
  /** Genome of the network that it has, null where it waits. */
  network: string | null;
  attempt: number;
  since: string | null;
}

export interface StatusOptions {
  generations: number;
  population: number;
  /** Whether a process holds the search's lock. */
  alive: boolean;
}

/** Reads the state of a search off its events. */
export function statusOf(
  events: readonly SearchEvent[],
  { generations, population, alive }: StatusOptions,
): SearchStatus {
  const of = carriedOf(events) + generations * population;
  const scored = new Map(events.flatMap((event) => (event.event === 'scored' ? [[event.key, event]] : [])));
  const tried = triedIn(events, scored);
  const front = frontOf(tried);
  const leases = events.filter((event) => event.event === 'leased');
  const busy = busyIn(events);
  const latest = leases.at(-1);
  const secondsEach = paceOf(leases.filter(({ process }) => process === latest?.process));
  const failed: Record<string, number> = {};
  for (const { reason } of scored.values()) if (reason) failed[reason] = (failed[reason] ?? 0) + 1;
  return {
    version: 1,
    state:
      scored.size >= of && ![...busy].some((key) => scored.has(key))
        ? 'finished'
        : !alive
          ? 'stopped'
          : scored.size === 0 && !latest
            ? 'training'
            : 'running',
    tried: scored.size,
    of,
    generation: Math.floor(scored.size / population),
    generations: Math.ceil(of / population),
    failed,
    best: front.length > 0 ? Math.max(...front.map(({ score }) => score!)) : null,
    front: front.length,
    hypervolume: volumeOf(tried),
    secondsEach,
    secondsLeft: secondsEach === null || !alive ? null : secondsEach * Math.max(0, of - scored.size),
    workers: alive ? workersOf(leases, busy) : [],
  };
}

/** Networks with a verdict whose costs the journal knows. */
function triedIn(
  events: readonly SearchEvent[],
  scored: ReadonlyMap<string, Extract<SearchEvent, { event: 'scored' }>>,
): Tried[] {
  const byLoss = haveLosses(events);
  return events.flatMap((event) => {
    if (event.event !== 'proposed' || !event.costs) return [];
    return event.genomes.flatMap((genome, at): Tried[] => {
      const verdict = scored.get(genomeKey(genome));
      if (!verdict) return [];
      const { score, loss, reason, epochs = null } = verdict;
      const worth = score === null ? 0 : byLoss ? loss! : -score;
      const objectives = [worth, event.costs![at]![0]!];
      return [{ genome, objectives, violation: score === null ? 1 : 0, epochs, score, reason }];
    });
  });
}

/** Networks that were leased and have no verdict since; one that is trained on has an older one. */
function busyIn(events: readonly SearchEvent[]): Set<string> {
  const busy = new Set<string>();
  for (const event of events) {
    if (event.event === 'leased') for (const key of event.keys) busy.add(key);
    if (event.event === 'scored') busy.delete(event.key);
  }
  return busy;
}

/**
 * Seconds between two leases, over the last of them: what a network takes with all workers together. Those that are trained
 * on are leased several times.
 */
function paceOf(leases: readonly { time: string; keys: readonly string[] }[]): number | null {
  const last = leases.slice(-30);
  if (last.length < 3) return null;
  const times = leases.length / new Set(leases.map(({ keys }) => keys[0])).size;
  return (times * (Date.parse(last.at(-1)!.time) - Date.parse(last[0]!.time))) / 1000 / (last.length - 1);
}

/** What each worker of the latest process has. */
function workersOf(
  leases: readonly Extract<SearchEvent, { event: 'leased' }>[],
  busyKeys: ReadonlySet<string>,
): WorkerStatus[] {
  const process = leases.at(-1)?.process;
  const latest = new Map<number, WorkerStatus>();
  for (const { keys, attempt, worker = 0, time, process: owner } of leases) {
    if (owner !== process) continue;
    const busy = busyKeys.has(keys[0]!);
    latest.set(worker, {
      worker,
      network: busy ? keys[0]! : null,
      attempt,
      since: busy ? time : null,
    });
  }
  return [...latest.values()].sort((a, b) => a.worker - b.worker);
}

const clock = (seconds: number): string => {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0
    ? `${hours} h ${minutes} min`
    : minutes > 0
      ? `${minutes} min ${whole % 60} s`
      : `${whole} s`;
};

/** A status in words; `now` in milliseconds. */
export function statusLines(status: SearchStatus, now: number): string[] {
  const { state, tried, of, generation, generations, failed, best, front, hypervolume, workers } = status;
  const reasons = Object.entries(failed).map(([reason, count]) => `${count} ${reason}`);
  const left = status.secondsLeft === null ? '' : `, ${clock(status.secondsLeft)} left`;
  const share = Math.floor((30 * tried) / of);
  return [
    `${state}  [${'#'.repeat(share)}${'.'.repeat(30 - share)}] ${tried} of ${of} networks${left}`,
    `generation ${generation} of ${generations}, best ${best === null ? '-' : best.toPrecision(4)}, ${front} on the front, volume ${hypervolume.toFixed(3)}`,
    ...(reasons.length > 0 ? [`without a score: ${reasons.join(', ')}`] : []),
    ...(state === 'training' ? ['shared weights are being trained'] : []),
    ...workers.map(({ worker, network, attempt, since }) =>
      network === null || since === null
        ? `worker ${worker}  waits`
        : `worker ${worker}  ${network} since ${clock((now - Date.parse(since)) / 1000)}${attempt > 1 ? `, attempt ${attempt}` : ''}`,
    ),
  ];
}
