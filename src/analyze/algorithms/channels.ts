/** A channel that reaches this many times as far as the median one leaves that one less than 5 of 8 bits. */
const OUTLIER = 8;

export interface ChannelFindings {
  count: number;
  /** Channels that are zero throughout. */
  dead: number[];
  /** Channels far beyond the median one, farthest first, with how many times as far they reach. */
  outliers: { channel: number; ratio: number }[];
}

/**
 * Dead and outlier channels by the largest magnitude in each. Where one scale serves all, outlier channels decide it and
 * the others lose bits (Dettmers et al., LLM.int8(), arXiv 2208.07339, section 3, on outlier features).
 *
 * @param reach largest magnitude a channel
 */
export function channelFindings(reach: readonly number[]): ChannelFindings {
  const dead = reach.flatMap((value, channel) => (value === 0 ? [channel] : []));
  const alive = reach.filter((value) => value > 0).sort((a, b) => a - b);
  const median = alive[alive.length >> 1] ?? 0;
  const outliers = reach
    .map((value, channel) => ({ channel, ratio: value / median }))
    .filter(({ ratio }) => ratio >= OUTLIER)
    .sort((a, b) => b.ratio - a.ratio || a.channel - b.channel);
  return { count: reach.length, dead, outliers };
}
