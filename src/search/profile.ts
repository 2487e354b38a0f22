import { UserError } from '../errors.js';
import { Draws } from './algorithms/random.js';
import { randomGenomes } from './feasible.js';
import { type Costs, type Limit, violationOf } from './network/costs.js';
import { type Genome, mutate, randomGenome, spaceSize } from './space.js';
import type { Problem } from './strategies/strategy.js';

/** Random networks that a space is judged by, and steps of each descent to its ends. */
const SAMPLES = 300;
const DESCENT = 200;

/** What one cost is over a space. */
export interface CostRange {
  cost: Limit['cost'];
  target: string;
  precision: string;
  limit: { min: number | null; max: number | null };
  /** The least and the most that were found, and the middle of random networks. */
  min: number;
  median: number;
  max: number;
  /** Share of random networks that keep this limit. */
  kept: number;
}

export interface SpaceProfile {
  /** Genomes; several may stand for one network. */
  size: number;
  samples: number;
  costs: CostRange[];
  /** Share of random networks that keep all limits. */
  kept: number;
  /** Whether a network that keeps all limits was found. */
  met: boolean;
}

/** What the networks of a space cost: by random ones, and by descents to the least and the most of each cost. */
export function profileSpace(problem: Problem, costs: Costs, seed: number): SpaceProfile {
  const { space, canonical = (genome: Genome) => genome } = problem;
  const genomes = Array.from({ length: SAMPLES }, (_, index) =>
    canonical(randomGenome(space, new Draws(seed, 0, index, 200))),
  );
  const values = genomes.map((genome) => costs.of(genome));
  const { limits } = costs;
  const ranges = limits.map((limit, at): CostRange => {
    const sorted = values.map((one) => one[at]!).sort((a, b) => a - b);
    const end = (sign: 1 | -1): number =>
      sign * descend(problem, (genome) => sign * costs.of(genome)[at]!, at, seed);
    return {
      cost: limit.cost,
      target: limit.target,
      precision: limit.precision,
      limit: { min: limit.min, max: limit.max },
      min: Math.min(end(1), sorted[0]!),
      median: sorted[sorted.length >> 1]!,
      max: Math.max(end(-1), sorted.at(-1)!),
      kept: sorted.filter((value) => violationOf([limit], [value]) === 0).length / SAMPLES,
    };
  });
  const keeping = values.filter((one) => violationOf(limits, one) === 0).length;
  const met =
    keeping > 0 || randomGenomes(problem, (index) => new Draws(seed, 1, index, 201), [], 1).length > 0;
  return { size: spaceSize(space), samples: SAMPLES, costs: ranges, kept: keeping / SAMPLES, met };
}

/** The least value that changes of one gene at a time lead to. */
function descend(problem: Problem, value: (genome: Genome) => number, at: number, seed: number): number {
  const { space, canonical = (genome: Genome) => genome } = problem;
  const draws = new Draws(seed, 2, at, 202);
  let genome = canonical(randomGenome(space, draws));
  let least = value(genome);
  for (let step = 0; step < DESCENT; step++) {
    const next = canonical(mutate(space, genome, draws));
    const now = value(next);
    if (now <= least) [genome, least] = [next, now];
  }
  return least;
}

export const UNITS: Record<CostRange['cost'], string> = {
  size: 'parameters',
  flops: 'multiplications',
  latency: 'ms',
  peak_memory: 'bytes',
  energy: 'J, relative',
};

export const figure = (value: number): string => Number(value.toPrecision(4)).toLocaleString('en-US');

/** A profile in words. */
export function profileLines({ size, samples, costs, kept, met }: SpaceProfile): string[] {
  return [
    `${size.toExponential(1)} genomes; ${samples} random ones and the ends of each cost:`,
    ...costs.map(
      ({ cost, target, precision, limit, min, median, max, kept: share }) =>
        `  ${cost} (${UNITS[cost]}; ${target}, ${precision}): ${figure(min)} … ${figure(median)} … ${figure(max)}; limit ` +
        `${limit.min === null ? '' : `≥ ${figure(limit.min)} `}${limit.max === null ? '' : `≤ ${figure(limit.max)} `}` +
        `keeps ${(100 * share).toFixed(0)} %`,
    ),
    met ? `All limits keep ${(100 * kept).toFixed(0)} %.` : 'No network keeps all limits.',
  ];
}

/** @throws UserError SEARCH_IMPOSSIBLE where no network keeps all limits, with the limit that is furthest away */
export function refuseImpossible({ costs, met }: SpaceProfile, place: string): void {
  if (met) return;
  const miss = ({ min, max, limit }: CostRange): number =>
    Math.max(limit.max === null ? 0 : min / limit.max, limit.min === null ? 0 : limit.min / max);
  const [worst] = [...costs].sort((a, b) => miss(b) - miss(a));
  const { cost, min, max, limit } = worst!;
  const unit =
    limit.max !== null && limit.max < min / 1000
      ? [`Units are ${UNITS[cost]}: write 11.4M for millions.`]
      : [];
  throw new UserError('SEARCH_IMPOSSIBLE', 'No network of this scenario can meet the limits.', {
    place,
    expected: `${cost} between ${figure(min)} and ${figure(max)} ${UNITS[cost]}, which is what there is`,
    found: [
      limit.min === null ? '' : `at least ${figure(limit.min)}`,
      limit.max === null ? '' : `at most ${figure(limit.max)}`,
    ]
      .filter((part) => part !== '')
      .join(', '),
    suggestions: [
      ...unit,
      'Change the limits, or filters and strides: `dopt search profile` shows what networks cost.',
    ],
  });
}
