import { EXIT, ExternalError } from '../errors.js';
import type { ChannelView, ConvShape, Histogram, IntegerArrays, IntegerType, MatmulShape } from './types.js';

/** Checks shared by the backends, made before any of them touches a buffer: sizes must agree with their arrays. */

/** The error of a call that cannot be computed. */
export function nativeError(message: string): ExternalError {
  return new ExternalError('NATIVE_FAILED', message, { exitCode: EXIT.native });
}

export function require(condition: boolean, message: () => string): void {
  if (!condition) throw nativeError(message());
}

export function requireLength(what: string, array: { length: number } | null, expected: number): void {
  require(array === null || array.length === expected, () => {
    return `${what} has ${array?.length} elements, expected ${expected}`;
  });
}

export function checkCounts(histogram: Histogram): void {
  requireLength('counts', histogram.counts, histogram.bins);
}

export function checkView(
  array: { length: number },
  view: ChannelView,
  perChannel: { length: number },
): void {
  requireLength('tensor', array, view.outer * view.channels * view.inner);
  requireLength('scales', perChannel, view.channels);
}

export function checkMatmul(
  { m, k, n }: MatmulShape,
  x: Uint8Array,
  w: Int8Array,
  bias: Int32Array | null,
): void {
  requireLength('x', x, m * k);
  requireLength('w', w, k * n);
  requireLength('bias', bias, n);
}

/** Checks the arrays of a convolution and gives the size of its output. */
export function convOutput(
  s: ConvShape,
  x: Uint8Array,
  w: Int8Array,
  bias: Int32Array | null,
): { rows: number; columns: number; length: number } {
  for (const [name, value] of Object.entries(s)) {
    const least = name.startsWith('pad') ? 0 : 1;
    require(Number.isInteger(value) && value >= least && value <= 1 << 24, () => `${name} is ${value}`);
  }
  require(s.inChannels % s.groups === 0 && s.outChannels % s.groups === 0, () => {
    return `${s.groups} groups do not divide ${s.inChannels} input and ${s.outChannels} output channels`;
  });
  requireLength('x', x, s.batch * s.inChannels * s.inHeight * s.inWidth);
  requireLength('w', w, s.outChannels * (s.inChannels / s.groups) * s.kernelHeight * s.kernelWidth);
  requireLength('bias', bias, s.outChannels);
  const size = (input: number, pads: number, kernel: number, stride: number, dilation: number) =>
    Math.floor((input + pads - dilation * (kernel - 1) - 1) / stride) + 1;
  const rows = size(s.inHeight, s.padTop + s.padBottom, s.kernelHeight, s.strideHeight, s.dilationHeight);
  const columns = size(s.inWidth, s.padLeft + s.padRight, s.kernelWidth, s.strideWidth, s.dilationWidth);
  require(rows > 0 && columns > 0, () => 'the kernel does not fit into the padded input');
  return { rows, columns, length: s.batch * s.outChannels * rows * columns };
}

/** Smallest and largest value of each integer type. */
export const INTEGER_BOUNDS: Record<IntegerType, { qmin: number; qmax: number }> = {
  u8: { qmin: 0, qmax: 255 },
  i8: { qmin: -128, qmax: 127 },
  u16: { qmin: 0, qmax: 65535 },
  i16: { qmin: -32768, qmax: 32767 },
};

const ARRAYS = { u8: Uint8Array, i8: Int8Array, u16: Uint16Array, i16: Int16Array } as const;

/** A zeroed array of an integer type. */
export function integerArray<T extends IntegerType>(type: T, length: number): IntegerArrays[T] {
  return new ARRAYS[type](length) as IntegerArrays[T];
}

/** The element type of an integer array, `i32` for accumulators. */
export function integerType(array: IntegerArrays[IntegerType] | Int32Array): IntegerType | 'i32' {
  if (array instanceof Int32Array) return 'i32';
  const found = (Object.keys(ARRAYS) as IntegerType[]).find((type) => array instanceof ARRAYS[type]);
  if (!found) throw nativeError('not an array of 8-, 16- or 32-bit integers');
  return found;
}
