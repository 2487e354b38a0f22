import { expect, it } from 'vitest';
import type { SearchEvent } from '../config/search-event.js';
import { statusLines, statusOf } from './status.js';

const at = (second: number): string => new Date(1_000_000 + 1000 * second).toISOString();
const lease = (key: string, worker: number, second: number, attempt = 1): SearchEvent => ({
  ...{ event: 'leased', keys: [key], attempt, process: 7, worker, time: at(second) },
});
const scored = (key: string, score: number | null): SearchEvent => ({
  ...{ event: 'scored', key, score, reason: score === null ? 'out-of-memory' : null },
});
const opened: SearchEvent = { event: 'opened', version: 1, digest: 'a', space: 's', time: at(0) };
const proposed = (round: number, genomes: number[][], costs: number[]): SearchEvent => ({
  ...{ event: 'proposed', round, genomes, costs: costs.map((cost) => [cost]) },
});

const begun = [opened, proposed(0, [[0], [1], [2], [3]], [10, 20, 30, 40])];
const running = [
  ...begun,
  ...[lease('0', 0, 0), lease('1', 1, 1), scored('0', 0.5), lease('2', 0, 10)],
  ...[scored('1', null), lease('3', 1, 12, 2), scored('2', 0.75)],
];
const options = { generations: 2, population: 4, alive: true };

it('says how far a search is, and what each worker does', () => {
  const status = statusOf(running, options);
  expect(status).toMatchObject({
    ...{ state: 'running', tried: 3, of: 8, generation: 0, generations: 2, best: 0.75, front: 2 },
    ...{ failed: { 'out-of-memory': 1 }, secondsEach: 4, secondsLeft: 20 },
  });
  expect(status.workers).toEqual([
    { worker: 0, network: null, attempt: 1, since: null },
    { worker: 1, network: '3', attempt: 2, since: at(12) },
  ]);
  expect(statusLines(status, 1_000_000 + 1000 * 90)).toEqual([
    'running  [###########...................] 3 of 8 networks, 20 s left',
    expect.stringMatching(/^generation 0 of 2, best 0.7500, 2 on the front, volume /),
    'without a score: 1 out-of-memory',
    'worker 0  waits',
    'worker 1  3 since 1 min 18 s, attempt 2',
  ]);
});

it('tells training, stopped, finished and extended searches apart', () => {
  expect(statusOf([opened], options).state).toBe('training');
  expect(statusOf(running, { ...options, alive: false })).toMatchObject({ state: 'stopped', workers: [] });
  const small = { ...options, generations: 1, population: 3 };
  expect(statusOf(running, small).state).toBe('finished');
  const extended = [...running, { ...opened, digest: 'b' } as SearchEvent];
  expect(statusOf(extended, small)).toMatchObject({ state: 'running', of: 4 + 3, generations: 3 });
});

it('compares networks by their loss where all have one', () => {
  const both = (one: number, loss: number | undefined): SearchEvent[] => [
    ...begun,
    { ...scored('0', one), loss: 2 } as SearchEvent,
    { ...scored('1', 0.5), ...(loss !== undefined && { loss }) } as SearchEvent,
  ];
  // The cheaper one is better by score and, where they have one, worse by loss.
  expect(statusOf(both(0.75, 1), options)).toMatchObject({ best: 0.75, front: 2 });
  expect(statusOf(both(0.75, 3), options).front).toBe(1);
  expect(statusOf(both(0.75, undefined), options).front).toBe(1);
  expect(statusOf(both(0.25, undefined), options).front).toBe(2);
});
