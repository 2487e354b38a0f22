import type { QuantizerFormat } from '../../config/plan.js';
import type { NativeCore, ScaleZeroPoint } from '../../native/index.js';
import { hasRoom, inputParams } from './exact-sums.js';
import { headroom } from './ranges.js';

/** What calibration saw of each channel of a tensor. */
export interface ChannelStatistics {
  min: Float64Array;
  max: Float64Array;
  meanSquare: Float64Array;
  mean: Float64Array;
}

/**
 * Noise to signal, on average over channels, from which the common grid is too coarse, by the bits of the activation:
 * −20 dB, where channels drown in 8 bits; −50 dB, where 16 bits come near the noise of the int8 weights behind them
 * (−42 to −47 dB a layer), beside which they ought to be without loss.
 */
const TOO_COARSE = { 8: 0.01, 16: 1e-5 };

/** A common grid must be this many times noisier than grids of the channels' own before they are worth having. */
const WORTH = 4;

/**
 * Scales for each channel of a tensor that only depthwise convolutions read, or null when one scale for all will do.
 *
 * Behind SiLU and the like some channels reach 100 while others stay below 1: one 8-bit grid leaves the small ones
 * nothing, and a depthwise convolution cannot recover what its channel lost. The measure is the mean over channels of
 * noise to signal, where the noise of a rounding grid is step²/12 and a channel cannot lose more than all it has.
 * NNCF gives inputs of depthwise convolutions a scale a channel always; here only where it matters, since a device
 * without it needs the scales moved into the neighbouring layers.
 *
 * @param exact whether the scales have few bits (exact-sums.ts)
 */
export function channelScales(
  core: NativeCore,
  { min, max, meanSquare }: ChannelStatistics,
  format: QuantizerFormat,
  commonStep: number,
  exact = false,
): ScaleZeroPoint[] | null {
  const reach = headroom(format);
  const few = exact && hasRoom(format);
  const own = Array.from(min, (least, c) => {
    const [low, high] = [reach * Math.min(0, least), reach * Math.max(0, max[c]!)];
    return few ? inputParams(core, low, high, format) : core.quantParams(low, high, format);
  });
  const common = meanNoise(meanSquare, () => commonStep);
  const separate = meanNoise(meanSquare, (c) => own[c]!.scale);
  return common > TOO_COARSE[format.bits] && common > WORTH * separate ? own : null;
}

/** Mean over channels of noise to signal, each at most 1; channels without any signal do not count. */
function meanNoise(meanSquare: Float64Array, step: (channel: number) => number): number {
  let sum = 0;
  let count = 0;
  meanSquare.forEach((power, channel) => {
    if (power === 0) return;
    sum += Math.min(1, step(channel) ** 2 / 12 / power);
    count++;
  });
  return count > 0 ? sum / count : 0;
}
