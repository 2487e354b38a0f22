import type { Score } from '../config/verification.js';

/** Resamples drawn for a standard error: it is then known to about 5 % of itself. */
export const ROUNDS = 200;

/** Fewer samples say nothing about spread. */
export const FEWEST_SAMPLES = 8;

export type Spread = Pick<Score, 'standardErrors' | 'interval'>;

export const NO_SPREAD: Spread = { standardErrors: null, interval: null };

/**
 * Draws of a bootstrap (Efron 1979) over samples: how often each one counts. Deterministic; none for too few samples.
 */
export function* draws(samples: number): Generator<Uint16Array> {
  if (samples < FEWEST_SAMPLES) return;
  const random = generator(samples);
  for (let round = 0; round < ROUNDS; round++) {
    const counts = new Uint16Array(samples);
    for (let i = 0; i < samples; i++) counts[Math.floor(random() * samples)]!++;
    yield counts;
  }
}

/**
 * Standard errors of a figure and the 95 % percentile interval of its difference, from its values for the same draws.
 * Draws in which a figure is not defined (no object of its kind was drawn) are left out.
 *
 * @param float null where the figure has no float counterpart
 */
export function spread(float: readonly number[] | null, quantized: readonly number[]): Spread {
  const rounds = quantized.flatMap((value, i) => {
    const reference = float ? float[i]! : 0;
    return Number.isFinite(value) && Number.isFinite(reference) ? [[reference, value] as const] : [];
  });
  if (rounds.length < ROUNDS / 2) return NO_SPREAD;
  const after = deviation(rounds.map(([, value]) => value));
  if (!float) return { standardErrors: { float: null, quantized: after, difference: null }, interval: null };
  const differences = rounds.map(([reference, value]) => value - reference).sort((a, b) => a - b);
  const tail = Math.floor(differences.length * 0.025);
  return {
    standardErrors: {
      float: deviation(rounds.map(([reference]) => reference)),
      quantized: after,
      difference: deviation(differences),
    },
    interval: [differences[tail]!, differences[differences.length - 1 - tail]!],
  };
}

/** Standard deviation with n − 1. */
function deviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}

/** mulberry32: a small generator of numbers in [0, 1) whose sequence depends on the seed alone. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
