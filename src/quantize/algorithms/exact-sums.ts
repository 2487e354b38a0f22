import type { QuantizerFormat } from '../../config/plan.js';
import type { NativeCore, ScaleZeroPoint } from '../../native/index.js';

/** Products that an output sums at most for its layer to take scales of few bits. */
const FEW_PRODUCTS = 64;

/** Significant bits of the scales of such a layer's input and weight. */
const INPUT_BITS = 5;
const WEIGHT_BITS = 4;

/**
 * Whether every runtime computes the same outputs for a layer whose scales have few bits: convolutions over several
 * positions and few channels, which are depthwise ones and those that read pictures.
 *
 * A runtime that carries out a QDQ model in float sums products (q − z)·s_x · w·s_w in an order of its own, and rounds
 * after each. The sums then differ in their last bit, and what lies next to the middle between two integers of the next
 * quantizer falls to the other side: in a deep network of small margins that turns one decision in a hundred. With m_x
 * and m_w for the significant bits of the scales, all partial sums are whole multiples of one number below 2²⁴, and so
 * exact in float32 in any order, as long as |Σ (q − z)·w| < 2^(24 − m_x − m_w), here 2¹⁵: a 3 × 3 kernel seldom gets
 * beyond. Kernels of one position are left out, since runtimes sum a matrix product in the same order anyhow; long sums
 * are, since too few bits would be left.
 *
 * @param shape of the weight: Conv [C_out, C_in / groups, …], ConvTranspose [C_in, C_out / groups, …]
 */
export function sumsFewProducts(op: string, shape: readonly number[], groups: number): boolean {
  const kernel = shape.slice(2).reduce((a, b) => a * b, 1);
  const channels = op === 'ConvTranspose' ? shape[0]! / groups : shape[1]!;
  return shape.length > 2 && kernel > 1 && kernel * channels <= FEW_PRODUCTS;
}

/** The smallest number of `bits` significant bits that is not below a positive, finite `value`. */
export function roundedUp(value: number, bits: number): number {
  const unit = 2 ** (Math.floor(Math.log2(value)) - bits + 1);
  return Math.ceil(value / unit) * unit;
}

/** The scale of a weight that sums few products: never finer than asked, so that nothing is clipped. */
export const weightScale = (scale: number): number => Math.fround(roundedUp(scale, WEIGHT_BITS));

/** Whether the format's scales may be of few bits: sums of 16-bit integers have no room for that. */
export const hasRoom = ({ bits, symmetric }: QuantizerFormat): boolean => bits === 8 && !symmetric;

/** Scale and zero point of a range, as quantParams gives them, with a scale of few bits that is not finer. */
export function inputParams(
  core: NativeCore,
  low: number,
  high: number,
  format: QuantizerFormat,
): ScaleZeroPoint {
  const scale = roundedUp(core.quantParams(low, high, format).scale, INPUT_BITS);
  return core.quantParams(...rangeOf(scale, Math.round(-Math.min(0, low) / scale), format), format);
}

/** The range around [low, high] whose scale has few bits: quantParams gives inputParams for it. */
export function inputRange(
  core: NativeCore,
  low: number,
  high: number,
  format: QuantizerFormat,
): [number, number] {
  const { scale, zeroPoint } = inputParams(core, low, high, format);
  return rangeOf(scale, zeroPoint - (format.signed ? -(2 ** (format.bits - 1)) : 0), format);
}

/** [low, high] of a grid with `below` steps under zero. */
function rangeOf(scale: number, below: number, { bits }: QuantizerFormat): [number, number] {
  const steps = 2 ** bits - 1;
  const under = Math.min(Math.max(below, 0), steps);
  return [-under * scale, (steps - under) * scale];
}

/**
 * The range of the finest grid that holds all of [low, high], both ends included, and zero.
 *
 * quantParams gives the finest grid whose span is that of the range, and moves it so that zero lies on it: up to half a
 * step of one end is then clipped. For a range as wide on both sides of zero it is just half a step, and the numbers of a
 * picture that preprocessing has centred all fall into the middle between two integers: the worst rounding there is, and
 * one that the least noise turns. Where the numbers are multiples of one step, this grid is that of the picture.
 */
export function coveringRange(low: number, high: number, format: QuantizerFormat): [number, number] {
  const from = -Math.min(0, low);
  const to = Math.max(0, high);
  if (format.symmetric || from === 0 || to === 0) return [-from, to];
  const steps = 2 ** format.bits - 1;
  const near = Math.floor((from / (from + to)) * steps);
  // One end fits exactly; the step is least at one of the two divisions nearest to that of the range.
  const [least] = [near, near + 1]
    .filter((below) => below > 0 && below < steps)
    .map((below) => ({ below, step: Math.max(from / below, to / (steps - below)) }))
    .sort((a, b) => a.step - b.step);
  return least ? [-least.below * least.step, (steps - least.below) * least.step] : [-from, to];
}
