/** Counts of the bins that cover [from + k·width, from + (k + 1)·width). */
export interface Bins {
  from: number;
  width: number;
  counts: ArrayLike<number | bigint>;
}

/**
 * Largest magnitude over the one that a share of all values stay below: how far the last few values lie beyond the rest.
 * null where that one is zero.
 *
 * @param zeros exact zeros, which no bin counts
 * @param most largest magnitude
 */
export function tailRatio(
  { from, width, counts }: Bins,
  zeros: number,
  most: number,
  share = 0.999,
): number | null {
  const magnitudes: [number, number][] = [];
  let total = zeros;
  for (let k = 0; k < counts.length; k++) {
    const mass = Number(counts[k]);
    if (mass === 0) continue;
    total += mass;
    // Middle of the bin: the ratio is for the eye.
    magnitudes.push([Math.abs(from + (k + 0.5) * width), mass]);
  }
  if (zeros >= share * total) return null;
  magnitudes.sort(([a], [b]) => a - b);
  let below = zeros;
  for (const [magnitude, mass] of magnitudes) {
    below += mass;
    if (below >= share * total) return magnitude > 0 ? Math.max(1, most / magnitude) : null;
  }
  return null;
}
