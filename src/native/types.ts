/** What the native core offers, whichever backend computes it. The semantics are those of native/include/dopt.h. */

/** A self-widening histogram: the state of `dopt_histogram` and its counts, one a bin. */
export interface Histogram {
  bins: number;
  /** Bin k covers [(base + k)·width, (base + k + 1)·width). */
  base: number;
  /** A power of two; 0 until a value other than zero was seen. */
  width: number;
  /** Finite values, exact zeros included. */
  count: number;
  zeros: number;
  nans: number;
  infinities: number;
  min: number;
  max: number;
  sum: number;
  sumSquares: number;
  counts: BigUint64Array;
}

/** An integer format of 2 to 16 bits. A symmetric one is signed and has zero point 0. */
export interface IntegerFormat {
  bits: number;
  signed: boolean;
  symmetric: boolean;
}

/** A clip; low ≤ 0 ≤ high. */
export interface Clip {
  low: number;
  high: number;
}

export interface FittedClip extends Clip {
  /** Expected squared error per value for `rangeMse`, divergence in nats for `rangeEntropy`. */
  error: number;
}

export interface ScaleZeroPoint {
  /** Exactly representable in float32. */
  scale: number;
  zeroPoint: number;
}

/** A tensor seen as [outer, channels, inner]. */
export interface ChannelView {
  outer: number;
  channels: number;
  inner: number;
}

/** Bounds of a fake quantization; both within ±65535. */
export interface IntegerBounds {
  qmin: number;
  qmax: number;
}

/** Integer arrays by the name of their element type. */
export interface IntegerArrays {
  u8: Uint8Array;
  i8: Int8Array;
  u16: Uint16Array;
  i16: Int16Array;
}
export type IntegerType = keyof IntegerArrays;

/** Sums over two tensors a and b, in double. */
export interface ErrorSums {
  /** Σ a² */
  signal: number;
  /** Σ (a − b)² */
  noise: number;
  /** Σ a·b */
  dot: number;
  /** Σ b² */
  powerB: number;
}

/** Grouped 2-d convolution: NCHW input, OIHW weights with I = inChannels / groups. */
export interface ConvShape {
  batch: number;
  inChannels: number;
  inHeight: number;
  inWidth: number;
  outChannels: number;
  kernelHeight: number;
  kernelWidth: number;
  groups: number;
  strideHeight: number;
  strideWidth: number;
  dilationHeight: number;
  dilationWidth: number;
  padTop: number;
  padLeft: number;
  padBottom: number;
  padRight: number;
}

/** x[m, k] · w[k, n]. */
export interface MatmulShape {
  m: number;
  k: number;
  n: number;
}

/** Every method throws ExternalError NATIVE_FAILED for arguments that cannot be computed with. */
export interface NativeCore {
  readonly backend: 'native' | 'typescript';
  /** The library that was loaded, or why none was. */
  readonly detail: string;
  /** Instruction set, compiler and the like, for `dopt env doctor` and the manifest. */
  buildInfo(): Record<string, unknown>;
  /** Threads the core may use; 0 means one a processor. */
  setThreads(threads: number): void;

  /** An empty histogram of 8 to 2²⁰ bins. */
  histogram(bins: number): Histogram;
  /** Adds the values of x to the histogram, in place. */
  histogramUpdate(histogram: Histogram, x: Float32Array): void;
  /** Adds all that `from` has seen to `into`, in place; same number of bins. */
  histogramMerge(into: Histogram, from: Histogram): void;

  /** The quantiles (1 − fraction) / 2 from both sides, zero included. */
  rangePercentile(histogram: Histogram, fraction: number): Clip;
  /** The clip with the least expected squared error. OMSE, arXiv:1902.06822 section 3.2. */
  rangeMse(histogram: Histogram, format: IntegerFormat): FittedClip;
  /** The clip with the least Kullback-Leibler divergence. Migacz, GTC 2017. */
  rangeEntropy(histogram: Histogram, format: IntegerFormat): FittedClip;
  /** Expected squared error per value, rounding and clipping together, of quantizing with this range. */
  rangeError(histogram: Histogram, low: number, high: number, format: IntegerFormat): number;
  /** Scale and zero point of a range, zero exact. */
  quantParams(low: number, high: number, format: IntegerFormat): ScaleZeroPoint;

  /** ONNX QuantizeLinear: round half to even, saturate; NaN gives the zero point. */
  quantize<T extends IntegerType>(x: Float32Array, params: ScaleZeroPoint, type: T): IntegerArrays[T];
  /** ONNX DequantizeLinear. */
  dequantize(q: IntegerArrays[IntegerType] | Int32Array, params: ScaleZeroPoint): Float32Array;
  /** Quantized to [qmin, qmax] and back. */
  fakeQuantize(x: Float32Array, params: ScaleZeroPoint, bounds: IntegerBounds): Float32Array;
  /** saturate(round(acc · multiplier) + zeroPoint), the product in double. */
  requantize<T extends 'u8' | 'i8'>(
    accumulators: Int32Array,
    multiplier: number,
    zeroPoint: number,
    type: T,
  ): IntegerArrays[T];

  /** Largest finite magnitude of each channel. */
  channelAbsmax(w: Float32Array, view: ChannelView): Float32Array;
  /** Symmetric int8 in −127..127, one scale a channel. */
  quantizeI8Channels(w: Float32Array, view: ChannelView, scales: Float32Array): Int8Array;
  dequantizeI8Channels(q: Int8Array, view: ChannelView, scales: Float32Array): Float32Array;
  /** `fakeQuantize` with a scale and zero point (null: all 0) a channel. */
  fakeQuantizeChannels(
    w: Float32Array,
    view: ChannelView,
    scales: Float32Array,
    zeroPoints: Int32Array | null,
    bounds: IntegerBounds,
  ): Float32Array;

  errorSums(a: Float32Array, b: Float32Array): ErrorSums;

  /** Reference integer convolution, 32-bit sums that wrap; padding holds the zero point. */
  convU8S8(
    shape: ConvShape,
    x: Uint8Array,
    xZeroPoint: number,
    w: Int8Array,
    bias: Int32Array | null,
  ): Int32Array;
  /** Reference integer matrix product, 32-bit sums that wrap. */
  matmulU8S8(
    shape: MatmulShape,
    x: Uint8Array,
    xZeroPoint: number,
    w: Int8Array,
    bias: Int32Array | null,
  ): Int32Array;

  /** Two values of −8..7 a byte, the first in the low nibble. */
  packInt4(x: Int8Array): Uint8Array;
  unpackInt4(packed: Uint8Array, count: number): Int8Array;
}
