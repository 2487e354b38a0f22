import type { QuantizerFormat } from '../config/plan.js';
import type { TensorStatistics } from '../config/statistics.js';
import type { Histogram, ScaleZeroPoint } from '../native/index.js';
import type { NarrowInput } from './algorithms/narrow-inputs.js';
import type { Range } from './algorithms/ranges.js';

/** Parameters of one quantized activation. */
export interface SolvedActivation {
  tensor: string;
  format: QuantizerFormat;
  scale: number;
  zeroPoint: number;
  low: number;
  high: number;
  rule: string;
  /** Expected squared error per element of this quantizer alone; null where nothing was observed. */
  error: number | null;
  /** Smallest and largest value met in calibration. */
  seen: [number, number] | null;
  /** The tensor whose parameters these are; itself unless shared or tied. */
  root: string;
  /** One scale a channel instead of the common one above; see algorithms/channel-scales.ts. */
  channels: { axis: number; parameters: ScaleZeroPoint[] } | null;
}

/** Integers of one layer with weights. */
export interface SolvedLayer {
  name: string;
  integers: Int8Array;
  scales: Float32Array;
  /** Float bias, folded and corrected; null for a layer without one. */
  bias: Float32Array | null;
  /** int32 bias at s_x·s_w; null without a bias or when the layer's input is not quantized. */
  quantizedBias: { integers: Int32Array; scales: Float32Array } | null;
}

export interface Observed {
  statistics: TensorStatistics;
  histogram: Histogram;
}

export interface ActivationSolution {
  activations: Map<string, SolvedActivation>;
  /** Further ranges worth trying per root tensor, the one in use first; only where there is a choice. */
  candidates: Map<string, Range[]>;
  /** What was decided for each concat, and why. */
  concats: { node: string; tied: boolean; reason: string }[];
}

export interface Refinement {
  activations: Map<string, SolvedActivation>;
  /** Bias corrections by layer name. */
  shifts: Map<string, Float32Array>;
  /** Weights by layer name that were solved to keep the layer's output; each lies on its grid. */
  weights: Map<string, Float32Array>;
  /** Inputs of the network that 8 bits turned out to be too few for. */
  narrow: NarrowInput[];
}
