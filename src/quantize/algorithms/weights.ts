import type { ChannelView } from '../../native/types.js';

/** Largest |integer| of a symmetric signed weight: −128 stays unused, so that scale·(−q) is as exact as scale·q. */
export const weightLimit = (bits: number): number => 2 ** (bits - 1) - 1;

/** Smallest normal float32; devices flush what is below it to zero, and a scale of zero is no scale. */
const SMALLEST = 2 ** -126;

/** Biases keep this far from the ends of int32, so that adding a product to one cannot overflow in a single step. */
const BIAS_LIMIT = 2 ** 30;

/**
 * Symmetric scales of a weight (Krishnamoorthi, arXiv 1806.08342, section 2.2): largest |w| of the channel over 127.
 *
 * Guards for channels that are dead or nearly so. A channel of zeros takes the scale of the largest channel / 2³⁰:
 * any value would do, but subnormal ones upset devices. And a scale grows until the channel's bias fits int32 at
 * s_x·s_w (onnxruntime and TFLite fail here with wrapped biases: onnxruntime issue 11415) and that product is a normal
 * float32.
 *
 * @param absmax largest |w| per channel
 * @param bias float bias per channel, or null; `biasChannel(c)` lists the bias entries that weight channel c serves
 * @param inputScales s_x, scale of the layer's input: one, or one a channel of a depthwise convolution
 * @returns float32 scales, one a channel
 */
export function weightScales(
  absmax: Float32Array,
  bits: number,
  bias: Float32Array | null,
  inputScales: readonly number[],
): Float32Array {
  const limit = weightLimit(bits);
  const largest = absmax.reduce((a, b) => Math.max(a, b), 0);
  const usable = Math.max(SMALLEST, SMALLEST / Math.min(...inputScales));
  const floor = largest > 0 ? Math.max(largest / limit / 2 ** 30, usable) : Math.max(1, usable);
  const scales = absmax.map((a) => Math.max(a / limit, floor));
  bias?.forEach((b, index) => {
    // Grouped ConvTranspose: one weight channel serves the same channel of every group.
    const c = index % scales.length;
    scales[c] = Math.max(scales[c]!, Math.abs(b) / inputScales[index % inputScales.length]! / BIAS_LIMIT);
  });
  return scales;
}

/**
 * int32 bias at s_x·s_w, rounded half to even.
 * @param scales weight scales; bias entry i belongs to weight channel i mod scales.length
 * @returns the integers and their float32 scales, one a bias entry
 */
export function quantizeBias(
  bias: Float32Array,
  scales: Float32Array,
  inputScales: readonly number[],
): { integers: Int32Array; scales: Float32Array } {
  const biasScales = bias.map((_, i) => inputScales[i % inputScales.length]! * scales[i % scales.length]!);
  return { integers: Int32Array.from(bias, (b, i) => roundHalfEven(b / biasScales[i]!)), scales: biasScales };
}

/** Nearest integer, ties to the even one, as IEEE 754 and ONNX round. */
export function roundHalfEven(x: number): number {
  const rounded = Math.round(x);
  return Math.abs(x - Math.trunc(x)) === 0.5 ? 2 * Math.round(x / 2) : rounded;
}

/** Mean of (w − ŵ)² over mean of w², for the report: what rounding the weight costs. */
export function weightNoise(
  weight: Float32Array,
  integers: Int8Array,
  scales: Float32Array,
  view: ChannelView,
): number {
  let noise = 0;
  let power = 0;
  for (let o = 0, i = 0; o < view.outer; o++) {
    for (let c = 0; c < view.channels; c++) {
      const scale = scales[c]!;
      for (let k = 0; k < view.inner; k++, i++) {
        const error = weight[i]! - scale * integers[i]!;
        noise += error * error;
        power += weight[i]! * weight[i]!;
      }
    }
  }
  return power > 0 ? noise / power : 0;
}
