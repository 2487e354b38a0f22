import type { Analysis } from '../config/analysis.js';
import type { RunResult } from '../config/result.js';

/** Everything that report.html shows; `reportInput` derives it from the files of a run. */
export interface ReportInput {
  result: RunResult;
  /** Quantized activations in graph order. */
  tensors: TensorReport[];
  weights: WeightReport[];
  /** What `dopt analyze` found; null where it did not run. */
  analysis: Analysis | null;
}

export interface TensorReport {
  name: string;
  /** Fused operator that produces it, and its kind; null for a graph input. */
  producer: string | null;
  kind: string;
  /** The producer has quantized weights. */
  weighted: boolean;
  bits: number;
  scale: Scale;
  /** null where every channel has its own. */
  zeroPoint: number | null;
  /** What the integers can represent, after rounding the zero point; of all channels together. */
  clip: [number, number];
  /** What chose the clip. */
  rule: string;
  /** What calibration saw; null where the tensor itself was not observed (shared parameters). */
  seen: Distribution | null;
  /** What verification measured; null where the tensor was not compared. */
  measured: TensorNoise | null;
}

/** Steps of a quantizer: one for the tensor, or one a channel. */
export interface Scale {
  channels: number;
  smallest: number;
  largest: number;
}

export interface Distribution {
  low: number;
  high: number;
  /** Shares of all values, 0 to 1. Saturation is not known where channels have clips of their own. */
  zeros: number;
  saturated: number | null;
  histogram: HistogramView;
  /** Noise that this quantizer alone is expected to make, over the power of the values: rounding, and clipping. */
  rounding: number;
  clipping: number;
}

/** Counts of equal bins from `low` to `high`; exact zeros are left out. */
export interface HistogramView {
  low: number;
  high: number;
  counts: number[];
}

export interface TensorNoise {
  /** dB; may be infinite. */
  sqnr: number;
  cosine: number;
  /** Noise over signal. */
  ratio: number;
  /** What of `ratio` arises here rather than in the tensors that lead here. */
  blame: number;
}

export interface WeightReport {
  name: string;
  node: string;
  scale: Scale;
  /** Channels whose weights are all (nearly) zero beside the layer's largest. */
  deadChannels: number;
}
