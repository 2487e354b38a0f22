import type { ChannelStatistics } from './channel-scales.js';

/** An offset is worth moving from this share of what a channel varies by. */
const WORTH = 0.5;

/** Below a Relu this share of what was met is left, for smaller values than calibration met. */
const LEFT = 0.05;

/**
 * What can be taken from each channel of a layer's output and given to the next layers (bias absorption: Nagel et al.,
 * arXiv 1906.04721, section 4.1.3): relu(x − c) = relu(x) − c as long as x ≥ c. The paper takes c from the mean and
 * standard deviation of batch normalization; here it is the least value that calibration met, less a reserve. A range
 * must hold zero, so values that lie between 10 and 12 use a sixth of its grid; less 10, all of it.
 *
 * @param high upper bound of the activation function; a channel that comes near it keeps its offset
 * @returns 0 for channels where nothing is won
 */
export function absorbable(
  { min, max }: ChannelStatistics,
  activation: 'none' | 'Relu',
  high: number,
): Float64Array {
  return min.map((low, c) => {
    const top = max[c]!;
    const spread = top - low;
    const reserve = LEFT * spread;
    const offset = low > 0 ? low - reserve : activation === 'none' && top < 0 ? top + reserve : 0;
    const bounded = top + reserve > high;
    return Math.abs(offset) > WORTH * spread && !bounded ? offset : 0;
  });
}
