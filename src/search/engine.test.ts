import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { ExternalError } from '../errors.js';
import { type Evaluator, runSearch, type Tried } from './engine.js';
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
  score: async (genomes, report) => {
    for (const genome of genomes) report({ key: genomeKey(genome), score: scoreOf(genome), reason: null });
  },
};

const search = (
  evaluator: Evaluator,
  { evaluations = 36, digest = 'a', extend = false } = {},
): Promise<Tried[]> =>
  runSearch({
    problem,
    strategy: new Evolution(problem, { ...EVOLUTION_DEFAULTS, initial: 12, seed: 1 }),
    evaluator,
    journal: new SearchJournal(journal, { digest, space: 's' }, extend),
    evaluations,
    size: 8,
  });

/** The journal without what differs from run to run. */
const told = (path = journal): string[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => /"(proposed|scored|closed)"/.test(line));

it('a search that is cut off at any byte of its journal ends as one that was not', async () => {
  const whole = await search(plain);
  const text = readFileSync(journal, 'utf8');
  const [events, key] = [told(), (tried: Tried[]) => tried.map(({ genome }) => genomeKey(genome))];
  for (let cut = 1; cut <= 20; cut++) {
    writeFileSync(journal, text.slice(0, Math.floor((text.length * cut) / 20.5)));
    expect(key(await search(plain))).toEqual(key(whole));
    expect(told()).toEqual(events);
  }
});

it('two evaluators that finish in any order try the same networks as one', async () => {
  const one = await search(plain);
  journal += '.2';
  const two: Evaluator = {
    score: async (genomes, report) => {
      const halves = [genomes.filter((_, i) => i % 2 === 1), genomes.filter((_, i) => i % 2 === 0)];
      await Promise.all(halves.map((half) => plain.score([...half].reverse(), report)));
    },
  };
  expect(await search(two)).toEqual(one);
});

it('a lost worker costs the network that killed it, and no other', async () => {
  const killer = (genome: Genome): boolean => genome[0] === 3;
  const fragile: Evaluator = {
    score: async (genomes, report) => {
      for (const genome of genomes) {
        if (killer(genome)) throw new ExternalError('PYTHON_DIED', 'gone');
        await plain.score([genome], report);
      }
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

it('what is wrong with all networks ends the search', async () => {
  const broken: Evaluator = {
    score: () => Promise.reject(new ExternalError('PYTHON_FAILED', 'no such metric')),
  };
  await expect(search(broken)).rejects.toMatchObject({ code: 'PYTHON_FAILED' });
});

it('goes on with more networks, and under other settings only when told to', async () => {
  const first = await search(plain, { evaluations: 30 });
  expect((await search(plain, { evaluations: 60 })).slice(0, 30)).toEqual(first);
  expect(() => new SearchJournal(journal, { digest: 'b', space: 's' }, false)).toThrow(/other settings/);
  expect(() => new SearchJournal(journal, { digest: 'b', space: 't' }, true)).toThrow(/other networks/);
  expect(await search(plain, { evaluations: 70, digest: 'b', extend: true })).toHaveLength(70);
});

it('names the line of a journal that is none', async () => {
  await search(plain, { evaluations: 10 });
  appendFileSync(journal, '{"event":"guessed"}\n');
  const line = readFileSync(journal, 'utf8').trimEnd().split('\n').length;
  expect(() => new SearchJournal(journal, { digest: 'a', space: 's' }, false)).toThrow(
    `:${line} is no event`,
  );
});
