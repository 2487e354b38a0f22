/** Power sums of values: how many, least, largest, and the sums of x, x², x³ and x⁴. */
export interface Moments {
  count: number;
  low: number;
  high: number;
  sums: readonly [number, number, number, number];
}

/**
 * Fourth standardized moment E[(x − μ)⁴] / σ⁴: 3 for a normal distribution, large where a few values lie far out. null
 * where all values are equal.
 */
export function kurtosis({ count, sums }: Moments): number | null {
  if (count === 0) return null;
  const [mean, m2, m3, m4] = sums.map((sum) => sum / count) as [number, number, number, number];
  const variance = m2 - mean ** 2;
  // What cancellation leaves of a variance of zero is no variance.
  if (variance <= 1e-12 * m2) return null;
  return (m4 - 4 * mean * m3 + 6 * mean ** 2 * m2 - 3 * mean ** 4) / variance ** 2;
}

/** The moments of all channels together. */
export function pooled(channels: readonly Moments[]): Moments {
  const seen = channels.filter(({ count }) => count > 0);
  const total = (pick: (moments: Moments) => number): number => seen.reduce((sum, one) => sum + pick(one), 0);
  return {
    count: total(({ count }) => count),
    low: seen.reduce(
      (least, { low }) => Math.min(least, low),
      seen.length > 0 ? Number.POSITIVE_INFINITY : 0,
    ),
    high: seen.reduce(
      (most, { high }) => Math.max(most, high),
      seen.length > 0 ? Number.NEGATIVE_INFINITY : 0,
    ),
    sums: [0, 1, 2, 3].map((power) => total(({ sums }) => sums[power]!)) as [number, number, number, number],
  };
}

/** The moments of an array. */
export function momentsOf(values: ArrayLike<number>): Moments {
  const sums: [number, number, number, number] = [0, 0, 0, 0];
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    sums[0] += x;
    sums[1] += x * x;
    sums[2] += x ** 3;
    sums[3] += x ** 4;
    if (x < low) low = x;
    if (x > high) high = x;
  }
  return values.length > 0 ? { count: values.length, low, high, sums } : { count: 0, low: 0, high: 0, sums };
}
