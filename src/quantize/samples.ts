import { createHash } from 'node:crypto';

/** Which samples do what: always disjoint, chosen by seed, independent of the file system's order. */
export interface SampleSplit {
  calibration: number[];
  /** For decisions between settings; empty unless asked for. */
  tuning: number[];
  /** What calibrates once decisions are made: as many as are wanted, those for tuning among them. */
  whole: number[];
  /** For the final score; empty when there are not enough samples to keep any back. */
  verification: number[];
}

/** How many samples a split is asked for at most. */
export interface SamplesWanted {
  calibration: number;
  tuning: number;
}

/** Share of a single data source that is kept back for scoring, and the bounds of it. */
const HOLD_OUT = { share: 0.25, most: 64 };

/** Largest share of the samples left for calibration that tuning takes away from it. */
const TUNING_SHARE = 0.25;

/**
 * Splits one source of `total` samples. What tuning gets comes from samples that nothing else asks for, as far as there
 * are such.
 * @param scored keeps samples back for the final score; false where another source has them
 */
export function splitSamples(total: number, wanted: SamplesWanted, seed: number, scored = true): SampleSplit {
  const order = shuffled(total, seed);
  const spare = total - Math.min(total, wanted.calibration);
  const holdOut =
    total < 2 || !scored
      ? 0
      : Math.min(HOLD_OUT.most, Math.max(1, spare, Math.floor(total * HOLD_OUT.share)));
  // One sample at least calibrates, and one tunes.
  const left = order.slice(wanted.tuning > 0 ? Math.min(holdOut, Math.max(0, total - 2)) : holdOut);
  const unused = Math.max(1, left.length - wanted.calibration, Math.floor(left.length * TUNING_SHARE));
  const tuning = Math.min(wanted.tuning, unused, Math.max(0, left.length - 1));
  const calibration = Math.min(wanted.calibration, left.length - tuning);
  const ascending = (a: number, b: number): number => a - b;
  return {
    calibration: left.slice(0, calibration).sort(ascending),
    tuning: left.slice(calibration, calibration + tuning).sort(ascending),
    whole: left.slice(0, Math.min(wanted.calibration, left.length)).sort(ascending),
    verification: order.slice(0, total - left.length).sort(ascending),
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
