import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { JobSession } from '../bridge/job-session.js';
import type { FrontNetwork, Pareto } from '../config/pareto.js';
import { renderSearch } from '../report/search/page.js';
import { writeFileAtomic } from '../run/atomic.js';
import { VERSION } from '../version.js';
import type { Tried } from './evaluation.js';
import { layersOf } from './network/layers.js';
import type { OpenSearch } from './open.js';
import { UNITS } from './profile.js';
import { programOf } from './program.js';
import { tensorboardFolder } from './run-params.js';
import { genomeKey } from './space.js';
import { scoredOf, volumes } from './volume.js';

/** Networks that no other beats in score and first cost, cheapest first; of equal ones the first that was tried. */
export function frontOf(tried: readonly Tried[]): Tried[] {
  const order = [...scoredOf(tried)].sort(
    (a, b) => a.objectives[1]! - b.objectives[1]! || a.objectives[0]! - b.objectives[0]!,
  );
  let best = Number.POSITIVE_INFINITY;
  return order.filter(({ objectives: [score] }) => {
    if (score! >= best) return false;
    best = score!;
    return true;
  });
}

/** Writes results/model_arch_result_N.py and pareto.json; resolves with what they say. */
export async function writeResults(
  open: OpenSearch,
  tried: readonly Tried[],
  out: string,
): Promise<FrontNetwork[]> {
  const folder = join(out, 'results');
  mkdirSync(folder, { recursive: true });
  const networks = frontOf(tried).map(
    ({ genome, score, objectives }, number): FrontNetwork => ({
      number,
      key: genomeKey(genome),
      score: score!,
      ...(objectives[0] !== -score! && { loss: objectives[0]! }),
      costs: open.costs.of(genome),
      layers: layersOf(open.skeleton, genome),
      file: join(folder, `model_arch_result_${number}.py`),
    }),
  );
  for (const network of networks) await writeFileAtomic(network.file, programOf(open, network, folder));
  const pareto: Pareto = { version: 1, dopt: VERSION, limits: open.limits, tried: tried.length, networks };
  await writeFileAtomic(join(out, 'pareto.json'), `${JSON.stringify(pareto, null, 2)}\n`);
  return networks;
}

/** Writes search.html: what a search has found so far. */
export async function writePage(open: OpenSearch, tried: readonly Tried[], out: string): Promise<void> {
  const numbers = new Map(frontOf(tried).map((one, number) => [one, number]));
  const scored = scoredOf(tried);
  const page = renderSearch({
    version: VERSION,
    scenario: basename(open.folder),
    cost: costName(open.limits[0]!),
    by: scored.every(({ objectives, score }) => objectives[0] === -score!) ? 'score' : 'loss',
    tried: scored.map((one) => ({
      score: one.score!,
      cost: one.objectives[1]!,
      number: numbers.get(one) ?? null,
      layers: layersOf(open.skeleton, one.genome),
      milliseconds: numbers.has(one) ? open.costs.byLayer(one.genome) : null,
    })),
    device: `${open.limits[0]!.target}, ${open.limits[0]!.precision}`,
    failed: tried.length - scored.length,
    volumes: volumes(tried),
  });
  await writeFileAtomic(join(out, 'search.html'), page);
}

/** Writes pareto.png, and the same into the logs for TensorBoard; nothing where no network has a score. */
export async function writePicture(
  session: JobSession,
  { limits }: OpenSearch,
  tried: readonly Tried[],
  { out, work }: { out: string; work: string },
): Promise<void> {
  const numbers = new Map(frontOf(tried).map((one, number) => [one, number]));
  const points = scoredOf(tried).map((one) => ({
    score: one.score!,
    cost: one.objectives[1]!,
    number: numbers.get(one) ?? null,
  }));
  if (points.length === 0) return;
  const cost = costName(limits[0]!);
  const params = { points, cost, tried: tried.length, file: join(out, 'pareto.png') };
  await session.run('nasPicture', { ...params, log: tensorboardFolder(work) }, () => {});
}

const costName = ({ cost }: Pick<OpenSearch['limits'][number], 'cost'>): string =>
  `${cost} in ${UNITS[cost]}`;
