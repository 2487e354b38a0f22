import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Archive } from '../../../src/search/archive.js';
import { EVOLUTION_DEFAULTS, Evolution } from '../../../src/search/strategies/evolution.js';
import type { Problem } from '../../../src/search/strategies/strategy.js';
import { markdown } from '../cost/section.js';
import { play } from './play.js';
import type { NasSection } from './section.js';

/** Sixteen layers of five genes, two objectives: what a search by dopt looks like. */
const problem: Problem = {
  space: Array.from({ length: 80 }, (_, gene) => ({
    choices: [8, 3, 4, 2, 5][gene % 5]!,
    ordered: gene % 5 > 0,
  })),
  screen: (genome) => ({ costs: [genome.reduce((a, b) => a + b, 0)], violation: 0 }),
};
const score = (genome: readonly number[]): number =>
  genome.reduce((sum, value, gene) => sum + Math.sin(value * (gene + 1)), 0);

const MANY = 100_000;
const MARKS = [20_000, 60_000, MANY];

/** Milliseconds of processor time a network, while 800 are tried. */
function perEvaluation(size: number): number {
  const search = new Evolution(problem, { ...EVOLUTION_DEFAULTS, seed: 1 });
  const started = process.cpuUsage();
  play(problem, search, score, 800, undefined, size);
  const { user, system } = process.cpuUsage(started);
  return (user + system) / 1000 / 800;
}

/** Bytes in use, those of arrays of numbers too. */
function used(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function measure(): string {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const rows = [40, 10, 1].map((size) => [
    `processor time an evaluation, ${size} at a time`,
    `${perEvaluation(size).toFixed(2)} ms`,
  ]);
  const search = new Evolution(problem, { ...EVOLUTION_DEFAULTS, seed: 1, assisted: false });
  const archive = new Archive(problem.space);
  let before = { tried: 0, bytes: 0 };
  play(problem, search, score, MANY, (genome, tried) => {
    const { costs, violation } = problem.screen(genome);
    const [value, objectives] = [score(genome), [-score(genome), ...costs]];
    archive.set(tried - 1, { genome, objectives, violation, score: value, epochs: null, reason: null });
    if (!MARKS.includes(tried)) return;
    collect();
    const now = { tried, bytes: used() };
    const each = (now.bytes - before.bytes) / (now.tried - before.tried);
    rows.push([`in use after ${tried} evaluations`, `${(now.bytes / 1e6).toFixed(1)} MB`]);
    if (before.tried > 0) rows.push([`… each since ${before.tried}`, `${(each / 1000).toFixed(2)} kB`]);
    before = now;
  });
  return markdown(['80 genes, population 40', ''], rows);
}

export const overhead: NasSection = {
  name: 'overhead',
  title: 'What the search itself takes',
  measure,
};
