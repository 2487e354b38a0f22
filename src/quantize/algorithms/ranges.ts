import type { QuantizerFormat } from '../../config/plan.js';
import type { Histogram, NativeCore } from '../../native/index.js';
import { coveringRange, hasRoom, inputRange } from './exact-sums.js';

/** How a range is chosen from what calibration saw. */
export type CalibrationMethod = 'minmax' | 'percentile' | 'entropy' | 'mse';
export type Calibration = CalibrationMethod | 'auto';

/** A clip [low, high] around zero, the rule that chose it and the squared error per element it is expected to cost. */
export interface Range {
  low: number;
  high: number;
  rule: string;
  error: number;
}

/** Share of the values that the percentile rule keeps: 99.9 % is too tight already, it costs 4 dB on small networks. */
const PERCENTILE = 0.99999;

/** The range that one method chooses for a tensor; zero is always inside. */
export function methodRange(
  core: NativeCore,
  histogram: Histogram,
  format: QuantizerFormat,
  method: CalibrationMethod,
): Range {
  const { low, high } = clip(core, histogram, format, method);
  return { low, high, rule: method, error: core.rangeError(histogram, low, high, format) };
}

/**
 * How far a 16-bit range reaches beyond what calibration saw: one bit of sixteen. Rounding noise stays some 80 dB below
 * the signal, and values that calibration did not meet are not clipped.
 */
const HEADROOM = 2;

/** By how much the range of a format reaches beyond the whole range that calibration saw. */
export const headroom = ({ bits }: QuantizerFormat): number => (bits === 16 ? HEADROOM : 1);

/** The whole range with headroom: what 16 bits take, where no clipping could gain anything. */
export function wideRange(core: NativeCore, histogram: Histogram, format: QuantizerFormat): Range {
  const { low, high } = clip(core, histogram, format, 'minmax');
  const reach = headroom(format);
  const wide = { low: low * reach, high: high * reach };
  return {
    ...wide,
    rule: 'minmax with headroom',
    error: core.rangeError(histogram, wide.low, wide.high, format),
  };
}

/**
 * The ranges worth comparing at a layer's output: what each method says, and the middle between the squared-error
 * range and the whole range. The first is the one to use where no comparison is made. Duplicates are left out.
 */
export function candidateRanges(core: NativeCore, histogram: Histogram, format: QuantizerFormat): Range[] {
  const ranges = (['mse', 'minmax', 'percentile', 'entropy'] as const).map((method) =>
    methodRange(core, histogram, format, method),
  );
  const [mse, minmax] = ranges as [Range, Range];
  const low = (mse.low + minmax.low) / 2;
  const high = (mse.high + minmax.high) / 2;
  ranges.push({ low, high, rule: 'mse-minmax', error: core.rangeError(histogram, low, high, format) });
  return distinctRanges(core, ranges, format);
}

/** Ranges without those that give the same scale and zero point as one before them. */
export function distinctRanges(core: NativeCore, ranges: readonly Range[], format: QuantizerFormat): Range[] {
  const seen = new Set<string>();
  return ranges.filter((range) => {
    const { scale, zeroPoint } = core.quantParams(range.low, range.high, format);
    const key = `${scale} ${zeroPoint}`;
    return !seen.has(key) && seen.add(key);
  });
}

function clip(
  core: NativeCore,
  histogram: Histogram,
  format: QuantizerFormat,
  method: CalibrationMethod,
): { low: number; high: number } {
  switch (method) {
    case 'minmax':
      return { low: Math.min(0, histogram.min), high: Math.max(0, histogram.max) };
    case 'percentile':
      return core.rangePercentile(histogram, PERCENTILE);
    case 'entropy':
      return core.rangeEntropy(histogram, format);
    case 'mse':
      return core.rangeMse(histogram, format);
  }
}

/** What the tensor is whose ranges are asked for. */
export interface RangeUse {
  graphInput: boolean;
  /** Read by a layer of exact sums. */
  exact: boolean;
}

/** Ranges to choose from for one observed tensor, the first of them to be used where nothing is compared. */
export function rangesFor(
  core: NativeCore,
  histogram: Histogram,
  format: QuantizerFormat,
  { graphInput, exact }: RangeUse,
  calibration: Calibration,
): Range[] {
  const ranges = proposedRanges(core, histogram, format, graphInput, calibration);
  if (!exact) return ranges;
  const few = ranges.map((range) => ofFewBits(core, range, format, histogram));
  return distinctRanges(core, few, format);
}

function proposedRanges(
  core: NativeCore,
  histogram: Histogram,
  format: QuantizerFormat,
  graphInput: boolean,
  calibration: Calibration,
): Range[] {
  if (calibration !== 'auto') return [methodRange(core, histogram, format, calibration)];
  // A graph input has the range that its preprocessing gives it; nothing in it is an outlier.
  if (graphInput) return [inputGrid(core, histogram, format)];
  return format.bits === 16 ? [wideRange(core, histogram, format)] : candidateRanges(core, histogram, format);
}

/** The whole range of a graph input, on a grid that clips nothing of it. */
function inputGrid(core: NativeCore, histogram: Histogram, format: QuantizerFormat): Range {
  const seen = methodRange(core, histogram, format, 'minmax');
  const [low, high] = coveringRange(seen.low, seen.high, format);
  return { ...seen, low, high, error: core.rangeError(histogram, low, high, format) };
}

/** A range with a scale of few bits; its error is counted anew where the histogram is known. */
export function ofFewBits(
  core: NativeCore,
  range: Range,
  format: QuantizerFormat,
  histogram: Histogram | null = null,
): Range {
  if (!hasRoom(format)) return range;
  const [low, high] = inputRange(core, range.low, range.high, format);
  return {
    ...range,
    low,
    high,
    error: histogram ? core.rangeError(histogram, low, high, format) : range.error,
  };
}
