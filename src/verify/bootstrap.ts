/** Resamples drawn for an interval; its ends move by less than a tenth of its width from there on. */
const ROUNDS = 200;

/** Fewer samples say nothing about spread. */
const FEWEST_SAMPLES = 8;

/**
 * 95 % interval of a statistic by the percentile bootstrap (Efron 1979), paired: one draw of samples serves both models
 * inside `statistic`. Deterministic.
 *
 * @param statistic the figure when sample i counts `counts[i]` times
 * @returns [low, high], or null where there are too few samples
 */
export function bootstrapInterval(
  samples: number,
  statistic: (counts: Uint16Array) => number,
): [number, number] | null {
  if (samples < FEWEST_SAMPLES) return null;
  const random = generator(samples);
  const values = Array.from({ length: ROUNDS }, () => {
    const counts = new Uint16Array(samples);
    for (let i = 0; i < samples; i++) counts[Math.floor(random() * samples)]!++;
    return statistic(counts);
  }).sort((a, b) => a - b);
  const tail = Math.floor(ROUNDS * 0.025);
  return [values[tail]!, values[ROUNDS - 1 - tail]!];
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
