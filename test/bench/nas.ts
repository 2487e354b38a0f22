/**
 * How good the searches are, on tables of networks that others have trained, and with --only on networks that are trained
 * here: the tables of docs/search.md.
 *
 *   npm run bench:nas -- [--only macro,nasbench201,overhead,rank,rank-whole,rank-fresh,better,better-tf] [--seeds 30] [--assets DIR] [--work DIR] [--workers N] [--profile torch|current]
 */
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Skipped } from './cost/section.js';
import { better, betterTensorflow } from './nas/better.js';
import { cells201 } from './nas/cells201.js';
import { macro } from './nas/macro.js';
import { overhead } from './nas/overhead.js';
import { rank, rankFresh, rankWhole } from './nas/rank.js';
import type { NasSection } from './nas/section.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SECTIONS: readonly NasSection[] = [
  macro,
  cells201,
  overhead,
  rank,
  rankWhole,
  rankFresh,
  better,
  betterTensorflow,
];

const { values } = parseArgs({
  options: {
    /** Names of sections, separated by commas. */
    only: { type: 'string' },
    seeds: { type: 'string', default: '30' },
    /** Processes that train networks. */
    workers: { type: 'string', default: '1' },
    /** PyTorch of 2022 (torch) or of today (current), for the sections about ranks. */
    profile: { type: 'string', default: 'torch' },
    assets: { type: 'string', default: process.env.DOPT_ASSETS ?? join(ROOT, '../shared/assets') },
    work: { type: 'string', default: join(tmpdir(), 'dopt-bench-nas') },
  },
});
const names = values.only?.split(',') ?? SECTIONS.filter(({ trains }) => !trains).map(({ name }) => name);
const places = {
  root: ROOT,
  assets: resolve(values.assets),
  work: resolve(values.work),
  seeds: Number(values.seeds),
  workers: Number(values.workers),
  profile: values.profile === 'current' ? ('current' as const) : ('torch' as const),
};
for (const name of names) {
  const section = SECTIONS.find((one) => one.name === name);
  if (!section) throw new Error(`${name} is none of: ${SECTIONS.map((one) => one.name).join(', ')}`);
  console.log(`\n### ${section.title}\n`);
  try {
    console.log(await section.measure(places));
  } catch (error) {
    if (!(error instanceof Skipped)) throw error;
    console.log(`Skipped: ${error.message}`);
  }
}
