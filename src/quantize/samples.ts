import { createHash } from 'node:crypto';

/**
 * Which samples calibrate and which ones score: always disjoint, chosen by seed, independent of the file system's order.
 */
export interface SampleSplit {
  calibration: number[];
  /** Empty when there are not enough samples to keep any back. */
  verification: number[];
}

/** Share of a single data source that is kept back for scoring, and the bounds of it. */
const HOLD_OUT = { share: 0.25, most: 64 };

/**
 * Splits one source of `total` samples.
 * @param calibrationWanted how many samples calibration asks for at most
 */
export function splitSamples(total: number, calibrationWanted: number, seed: number): SampleSplit {
  const order = shuffled(total, seed);
  const spare = total - Math.min(total, calibrationWanted);
  const holdOut =
    total < 2 ? 0 : Math.min(HOLD_OUT.most, Math.max(1, spare, Math.floor(total * HOLD_OUT.share)));
  const ascending = (a: number, b: number): number => a - b;
  return {
    calibration: order.slice(holdOut, holdOut + calibrationWanted).sort(ascending),
    verification: order.slice(0, holdOut).sort(ascending),
  };
}

/** `count` of `total` indices, ascending; all of them when there are no more. */
export function pickSamples(total: number, count: number, seed: number): number[] {
  return shuffled(total, seed)
    .slice(0, count)
    .sort((a, b) => a - b);
}

/** 0..total−1 in an order that depends on the seed alone: sorted by a hash of (seed, index). */
function shuffled(total: number, seed: number): number[] {
  const keys = Array.from({ length: total }, (_, index) =>
    createHash('sha256').update(`${seed}:${index}`).digest('hex'),
  );
  return keys.map((_, index) => index).sort((a, b) => (keys[a]! < keys[b]! ? -1 : 1));
}
