import { INTEGER_BOUNDS, integerArray, integerType, require } from '../arguments.js';
import type {
  ChannelView,
  ErrorSums,
  IntegerArrays,
  IntegerBounds,
  IntegerType,
  ScaleZeroPoint,
} from '../types.js';
import { clamp, roundHalfEven } from './rounding.js';

/**
 * Float32 arithmetic in doubles: the product and the quotient of two floats, rounded once more to float, equal the
 * float operation, since a double has more than twice a float's digits.
 */

function checkParams({ scale, zeroPoint }: ScaleZeroPoint, { qmin, qmax }: IntegerBounds): void {
  const float = Math.fround(scale);
  require(Number.isFinite(float) && float > 0, () => `scale is ${scale}, expected finite and above 0`);
  require(Number.isInteger(zeroPoint) && zeroPoint >= qmin && zeroPoint <= qmax, () => {
    return `zero point ${zeroPoint} is outside ${qmin}..${qmax}`;
  });
}

function checkBounds({ qmin, qmax }: IntegerBounds): void {
  require(qmin >= -65535 && qmax <= 65535 && qmin < qmax, () => {
    return `${qmin}..${qmax} is not a range within -65535..65535`;
  });
}

/** round(x / scale) kept in the grid, relative to the zero point; NaN gives 0. */
function level(x: number, scale: number, zeroPoint: number, { qmin, qmax }: IntegerBounds): number {
  const v = Math.fround(x / scale);
  return Number.isNaN(v) ? 0 : roundHalfEven(clamp(v, qmin - zeroPoint, qmax - zeroPoint));
}

export function quantize<T extends IntegerType>(
  x: Float32Array,
  params: ScaleZeroPoint,
  type: T,
): IntegerArrays[T] {
  const bounds = INTEGER_BOUNDS[type];
  checkParams(params, bounds);
  const scale = Math.fround(params.scale);
  const out = integerArray(type, x.length);
  for (let i = 0; i < x.length; i++) {
    out[i] = level(x[i]!, scale, params.zeroPoint, bounds) + params.zeroPoint;
  }
  return out;
}

export function dequantize(q: IntegerArrays[IntegerType] | Int32Array, params: ScaleZeroPoint): Float32Array {
  const type = integerType(q);
  checkParams(params, type === 'i32' ? { qmin: -(2 ** 31), qmax: 2 ** 31 - 1 } : INTEGER_BOUNDS[type]);
  const scale = Math.fround(params.scale);
  return Float32Array.from(q, (v) => Math.fround(v - params.zeroPoint) * scale);
}

export function fakeQuantize(x: Float32Array, params: ScaleZeroPoint, bounds: IntegerBounds): Float32Array {
  checkBounds(bounds);
  checkParams(params, bounds);
  const scale = Math.fround(params.scale);
  return x.map((v) => level(v, scale, params.zeroPoint, bounds) * scale);
}

export function requantize<T extends 'u8' | 'i8'>(
  accumulators: Int32Array,
  multiplier: number,
  zeroPoint: number,
  type: T,
): IntegerArrays[T] {
  const { qmin, qmax } = INTEGER_BOUNDS[type];
  require(Number.isFinite(multiplier), () => 'multiplier is not finite');
  checkParams({ scale: 1, zeroPoint }, { qmin, qmax });
  const out = integerArray(type, accumulators.length);
  for (let i = 0; i < out.length; i++) {
    const v = clamp(accumulators[i]! * multiplier, qmin - zeroPoint, qmax - zeroPoint);
    out[i] = roundHalfEven(v) + zeroPoint;
  }
  return out;
}

/** Runs `row(channel, offset)` for each run of `inner` elements. */
function eachRow(
  { outer, channels, inner }: ChannelView,
  row: (channel: number, offset: number) => void,
): void {
  for (let o = 0, offset = 0; o < outer; o++) {
    for (let c = 0; c < channels; c++, offset += inner) row(c, offset);
  }
}

export function channelAbsmax(w: Float32Array, view: ChannelView): Float32Array {
  const out = new Float32Array(view.channels);
  eachRow(view, (c, offset) => {
    for (let i = offset; i < offset + view.inner; i++) {
      const magnitude = Math.abs(w[i]!);
      if (magnitude > out[c]! && magnitude !== Number.POSITIVE_INFINITY) out[c] = magnitude;
    }
  });
  return out;
}

export function quantizeI8Channels(w: Float32Array, view: ChannelView, scales: Float32Array): Int8Array {
  const bounds = { qmin: -127, qmax: 127 };
  for (const scale of scales) checkParams({ scale, zeroPoint: 0 }, bounds);
  const out = new Int8Array(w.length);
  eachRow(view, (c, offset) => {
    for (let i = offset; i < offset + view.inner; i++) out[i] = level(w[i]!, scales[c]!, 0, bounds);
  });
  return out;
}

export function dequantizeI8Channels(q: Int8Array, view: ChannelView, scales: Float32Array): Float32Array {
  for (const scale of scales) checkParams({ scale, zeroPoint: 0 }, INTEGER_BOUNDS.i8);
  const out = new Float32Array(q.length);
  eachRow(view, (c, offset) => {
    for (let i = offset; i < offset + view.inner; i++) out[i] = q[i]! * scales[c]!;
  });
  return out;
}

export function fakeQuantizeChannels(
  w: Float32Array,
  view: ChannelView,
  scales: Float32Array,
  zeroPoints: Int32Array | null,
  bounds: IntegerBounds,
): Float32Array {
  checkBounds(bounds);
  scales.forEach((scale, c) => {
    checkParams({ scale, zeroPoint: zeroPoints?.[c] ?? 0 }, bounds);
  });
  const out = new Float32Array(w.length);
  eachRow(view, (c, offset) => {
    const scale = scales[c]!;
    const zeroPoint = zeroPoints?.[c] ?? 0;
    for (let i = offset; i < offset + view.inner; i++) {
      out[i] = level(w[i]!, scale, zeroPoint, bounds) * scale;
    }
  });
  return out;
}

const LANES = 16;
const BLOCK = 2048;

/** The fixed tree over 16 lanes from `at`. */
function reduce(lanes: Float64Array, at: number): number {
  const t = Array.from({ length: 8 }, (_, i) => lanes[at + i]! + lanes[at + i + 8]!);
  const u = Array.from({ length: 4 }, (_, i) => t[i]! + t[i + 4]!);
  return u[0]! + u[2]! + (u[1]! + u[3]!);
}

/** In the order of the native core, so that the sums are equal to the last bit. */
export function errorSums(a: Float32Array, b: Float32Array): ErrorSums {
  const totals = [0, 0, 0, 0];
  for (let start = 0; start < a.length; start += BLOCK) {
    const lanes = new Float64Array(4 * LANES);
    for (let i = start; i < Math.min(start + BLOCK, a.length); i++) {
      const lane = (i - start) % LANES;
      const x = a[i]!;
      const y = b[i]!;
      const d = x - y;
      lanes[lane]! += x * x;
      lanes[LANES + lane]! += d * d;
      lanes[2 * LANES + lane]! += x * y;
      lanes[3 * LANES + lane]! += y * y;
    }
    totals.forEach((_, k) => {
      totals[k]! += reduce(lanes, k * LANES);
    });
  }
  const [signal, noise, dot, powerB] = totals as [number, number, number, number];
  return { signal, noise, dot, powerB };
}
