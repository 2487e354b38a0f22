import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { ExternalError } from '../errors.js';
import { halvingOf } from './algorithms/halving.js';
import { MODES, type Mode, runSearch } from './engine.js';
import type { Evaluator, Tried } from './evaluation.js';
import { SearchJournal } from './journal.js';
import { type Genome, genomeKey, type Space } from './space.js';
import { EVOLUTION_DEFAULTS, Evolution } from './strategies/evolution.js';
import type { Problem } from './strategies/strategy.js';

const space: Space = Array.from({ length: 6 }, () => ({ choices: 4, ordered: false }));
const problem: Problem = {
  space,
  screen: (genome) => ({ costs: [genome.reduce((a, b) => a + b, 0)], violation: 0 }),
};
const scoreOf = (genome: Genome): number =>
  genome.reduce((sum, value, gene) => sum + Math.sin(value * (gene + 2)), 0);

let journal: string;
beforeEach(() => {
  journal = join(mkdtempSync(join(tmpdir(), 'dopt-search-')), 'search.ndjson');
});

const plain: Evaluator = {
  workers: 1,
  score: async (genome) => ({ key: genomeKey(genome), score: scoreOf(genome), reason: null }),
};

/** Workers that take their time, each its own. */
const slow = (workers: number): Evaluator => ({
  workers,
  score: async (genome, worker) => {
    for (let turn = 0; turn < (scoreOf(genome) * 1000 + worker) % 5; turn++) await Promise.resolve();
    return plain.score(genome, worker);
  },
});

const search = (
  evaluator: Evaluator,
  { evaluations = 36, digest = 'a', extend = false, mode = 'synchronous' as Mode, byLoss = false } = {},
): Promise<Tried[]> =>
  runSearch({
    problem,
    strategy: new Evolution(problem, { ...EVOLUTION_DEFAULTS, initial: 12, seed: 1 }),
    evaluator,
    journal: new SearchJournal(journal, { digest, space: 's' }, extend),
    mode,
    evaluations,
    size: 8,
    byLoss,
  });

/** Says a loss with each score, which is least where the score is lowest. */
const losing: Evaluator = {
  workers: 1,
  score: async (genome, worker) => {
    const verdict = await plain.score(genome, worker);
    return { ...verdict, loss: verdict.score! };
  },
};

/** The journal without what differs from run to run. */
const told = (path = journal): string[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => /"(proposed|scored|closed)"/.test(line));

const keys = (tried: Tried[]): string[] => tried.map(({ genome }) => genomeKey(genome));

it.each(MODES)(
  'a search that is cut off at some byte of its journal ends as one that was not (%s)',
  async (mode) => {
    const whole = await search(plain, { mode });
    const text = readFileSync(journal, 'utf8');
    const events = told();
    for (let cut = 1; cut <= 8; cut++) {
      writeFileSync(journal, text.slice(0, Math.floor((text.length * cut) / 8.5)));
      expect(keys(await search(plain, { mode }))).toEqual(keys(whole));
      expect(told()).toEqual(events);
    }
  },
);

it('three workers that finish in any order try the same networks as one', async () => {
  const one = await search(plain);
  journal += '.2';
  expect(await search(slow(3))).toEqual(one);
});

it('in steady state no worker waits, and nothing is tried twice or forgotten after a kill', async () => {
  const running = new Set<number>();
  let most = 0;
  const evaluator: Evaluator = {
    workers: 3,
    score: async (genome, worker) => {
      running.add(worker);
      most = Math.max(most, running.size);
      const verdict = await slow(3).score(genome, worker);
      running.delete(worker);
      return verdict;
    },
  };
  const whole = await search(evaluator, { mode: 'steady' });
  expect(most).toBe(3);
  expect(new Set(keys(whole)).size).toBe(36);
  const text = readFileSync(journal, 'utf8');
  for (let cut = 1; cut <= 6; cut++) {
    const kept = text.slice(0, Math.floor((text.length * cut) / 6.5));
    writeFileSync(journal, kept);
    const again = await search(evaluator, { mode: 'steady' });
    expect(new Set(keys(again)).size).toBe(36);
    const closed = kept.split('"closed"').length - 1;
    expect(keys(again).slice(0, closed)).toEqual(keys(whole).slice(0, closed));
  }
});

it('a lost worker costs the network that killed it, and no other', async () => {
  const killer = (genome: Genome): boolean => genome[0] === 3;
  const fragile: Evaluator = {
    workers: 2,
    score: async (genome, worker) => {
      if (killer(genome)) throw new ExternalError('PYTHON_DIED', 'gone');
      return plain.score(genome, worker);
    },
  };
  const tried = await search(fragile, { evaluations: 80 });
  expect(tried.some(({ genome }) => killer(genome))).toBe(true);
  for (const { genome, reason, score, violation } of tried) {
    expect(reason).toBe(killer(genome) ? 'died' : null);
    expect(score === null).toBe(killer(genome));
    expect(violation > 0).toBe(killer(genome));
  }
});

it('goes by losses where it is told to, which its journal keeps', async () => {
  const opened = (): SearchJournal => new SearchJournal(journal, { digest: 'a', space: 's' }, false);
  const whole = await search(losing, { byLoss: true });
  for (const { objectives, score } of whole) expect(objectives[0]).toBe(score);
  expect(opened().haveLosses).toBe(true);
  const text = readFileSync(journal, 'utf8');
  writeFileSync(journal, text.slice(0, text.length / 2));
  expect(keys(await search(losing, { byLoss: true }))).toEqual(keys(whole));
  const sum = (tried: Tried[]): number => tried.reduce((all, { score }) => all + score!, 0);
  writeFileSync(journal, '');
  expect(sum(await search(losing))).toBeGreaterThan(sum(whole));
  await search(plain, { evaluations: 44 });
  expect(opened().haveLosses).toBe(false);
});

it('compares losses only where all are means over as many batches', () => {
  const tune = (batches: number) => ({ batches, seeds: 2 });
  const open = (digest: string, batches: number) =>
    new SearchJournal(journal, { digest, space: 's', tune: tune(batches) }, true);
  const propose = (one: SearchJournal) => {
    one.add({ event: 'proposed', round: 0, genomes: [[0]] });
    one.add({ event: 'scored', key: '0', score: 1, loss: 2, reason: null });
  };
  open('a', 40);
  propose(open('b', 80)); // nothing was tried with 40
  expect(open('b', 80).haveLosses).toBe(true);
  expect(open('c', 80).haveLosses).toBe(true);
  expect(open('d', 160).haveLosses).toBe(false);
  writeFileSync(journal, readFileSync(journal, 'utf8').replaceAll(/"tune":\{[^}]*\},/g, ''));
  expect(open('d', 80).haveLosses).toBe(true); // as it was opened, by a version that did not say
  expect(open('e', 80).haveLosses).toBe(false);
});

it('does not compare losses of validation data with those of training', () => {
  const open = (digest: string, loss?: 'validation') =>
    new SearchJournal(
      journal,
      { digest, space: 's', tune: { batches: 80, seeds: 2, ...(loss && { loss }) } },
      true,
    );
  const before = open('a');
  before.add({ event: 'proposed', round: 0, genomes: [[0]] });
  before.add({ event: 'scored', key: '0', score: 1, loss: 2, reason: null });
  expect(open('a').haveLosses).toBe(true);
  expect(open('b', 'validation').haveLosses).toBe(false);
});

it('what is wrong with all networks ends the search', async () => {
  const broken: Evaluator = {
    workers: 2,
    score: () => Promise.reject(new ExternalError('PYTHON_FAILED', 'no such metric')),
  };
  for (const mode of MODES)
    await expect(search(broken, { mode })).rejects.toMatchObject({ code: 'PYTHON_FAILED' });
});

it('goes on with more networks, and under other settings only when told to', async () => {
  const first = await search(plain, { evaluations: 30 });
  expect((await search(plain, { evaluations: 60 })).slice(0, 30)).toEqual(first);
  expect(() => new SearchJournal(journal, { digest: 'b', space: 's' }, false)).toThrow(/other settings/);
  expect(() => new SearchJournal(journal, { digest: 'b', space: 't' }, true)).toThrow(/other networks/);
  expect(await search(plain, { evaluations: 70, digest: 'b', extend: true })).toHaveLength(70);
  expect(new SearchJournal(journal, { digest: 'b', space: 's' }, false).carried).toBe(60);
});

it('gives way to another search where nothing was tried', () => {
  const open = (digest: string) => new SearchJournal(journal, { digest, space: 's' }, false);
  expect([open('a').replaced, open('a').replaced, open('b').replaced, open('b').replaced]).toEqual([
    ...[false, false, true, false],
  ]);
});

it('names the line of a journal that is none', async () => {
  await search(plain, { evaluations: 10 });
  appendFileSync(journal, '{"event":"guessed"}\n');
  const line = readFileSync(journal, 'utf8').trimEnd().split('\n').length;
  expect(() => new SearchJournal(journal, { digest: 'a', space: 's' }, false)).toThrow(
    `:${line} is no event`,
  );
});

describe('with rungs', () => {
  const halving = halvingOf({ first: 1, factor: 3, most: 9 });
  /** Scores that depend on the training, and what every network was trained for. */
  const course = (workers: number) => {
    const asked: string[] = [];
    /** Weights that there are. */
    const kept = new Set<string>();
    const evaluator: Evaluator = {
      workers,
      score: async (genome, worker, training) => {
        const key = genomeKey(genome);
        for (let turn = 0; turn < (scoreOf(genome) * 1000 + worker) % 5; turn++) await Promise.resolve();
        if (training?.parent)
          expect(kept).toContain(`${genomeKey(training.parent.genome)} ${training.parent.epochs}`);
        const { epochs, parent } = training!;
        asked.push(`${key} ${epochs}`);
        kept.add(`${key} ${epochs}`);
        const bonus = parent ? scoreOf(parent.genome) / 10 : 0;
        return { key, score: scoreOf(genome) * Math.log(1 + epochs!) + bonus, reason: null };
      },
      retain: (stages) => {
        const wanted = new Set(stages.map(({ key, epochs }) => `${key} ${epochs}`));
        for (const one of kept) if (!wanted.has(one)) kept.delete(one);
      },
    };
    return { evaluator, asked, kept };
  };
  const halved = (evaluator: Evaluator, inherit = false, mode: Mode = 'synchronous'): Promise<Tried[]> =>
    runSearch({
      problem,
      strategy: new Evolution(problem, { ...EVOLUTION_DEFAULTS, initial: 12, seed: 1 }),
      evaluator,
      journal: new SearchJournal(journal, { digest: 'a', space: 's' }, false),
      mode,
      evaluations: 40,
      size: 8,
      halving,
      inherit,
    });
  /** Another process: weights of what the journal knows are still there. */
  const resumed = () => {
    const again = course(1);
    for (const line of known().filter((line) => line.endsWith('}'))) {
      const event = JSON.parse(line);
      if (event.event === 'scored') again.kept.add(`${event.key} ${event.epochs}`);
    }
    return again;
  };
  const known = (): string[] =>
    readFileSync(journal, 'utf8')
      .split('\n')
      .filter((line) => /"(proposed|promoted|scored|closed)"/.test(line));

  it('the best are trained on, with one worker as with three', async () => {
    const { evaluator, asked, kept } = course(1);
    const one = await halved(evaluator);
    const at = (epochs: number): number => asked.filter((line) => line.endsWith(` ${epochs}`)).length;
    expect([at(1), at(3), at(9)]).toEqual([40, expect.any(Number), expect.any(Number)]);
    // At least a third; those that were among it when fewer had come stay there.
    expect(at(3)).toBeGreaterThanOrEqual(13);
    expect(at(9)).toBeGreaterThanOrEqual(Math.floor(at(3) / 3));
    expect(new Set(asked).size).toBe(asked.length);
    expect(kept.size).toBeLessThan(40);
    expect(one.filter(({ epochs }) => epochs === 9)).toHaveLength(at(9));
    journal += '.2';
    expect(await halved(course(3).evaluator)).toEqual(one);
  });

  it.each([false, true])(
    'a search that is cut off ends as one that was not (inheriting: %s)',
    async (inherit) => {
      const { evaluator } = course(1);
      const whole = await halved(evaluator, inherit);
      const text = readFileSync(journal, 'utf8');
      const events = known();
      if (inherit) expect(text).toMatch(/"parents":\[\{"key"/);
      for (let cut = 1; cut <= 5; cut++) {
        writeFileSync(journal, text.slice(0, Math.floor((text.length * cut) / 5.5)));
        expect(await halved(resumed().evaluator, inherit)).toEqual(whole);
        expect(known()).toEqual(events);
      }
    },
  );

  it('in steady state too', async () => {
    const whole = await halved(course(3).evaluator, true, 'steady');
    expect(new Set(keys(whole)).size).toBe(40);
    expect(whole.some(({ epochs }) => epochs === 9)).toBe(true);
    const text = readFileSync(journal, 'utf8');
    writeFileSync(journal, text.slice(0, text.length / 2));
    const again = await halved(resumed().evaluator, true, 'steady');
    expect(new Set(keys(again)).size).toBe(40);
  });
});
