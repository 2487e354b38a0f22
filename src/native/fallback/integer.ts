import { checkMatmul, convOutput, require } from '../arguments.js';
import type { ConvShape, MatmulShape } from '../types.js';

function checkZeroPoint(zeroPoint: number): void {
  require(Number.isInteger(zeroPoint) && zeroPoint >= 0 && zeroPoint <= 255, () => {
    return `zero point ${zeroPoint} is outside 0..255`;
  });
}

/** Integer convolution; `| 0` wraps the sums as 32-bit accumulators do. */
export function convU8S8(
  s: ConvShape,
  x: Uint8Array,
  xZeroPoint: number,
  w: Int8Array,
  bias: Int32Array | null,
): Int32Array {
  checkZeroPoint(xZeroPoint);
  const { rows, columns, length } = convOutput(s, x, w, bias);
  const perGroup = s.inChannels / s.groups;
  const window = (n: number, o: number, top: number, left: number): number => {
    const first = Math.floor(o / (s.outChannels / s.groups)) * perGroup;
    let sum = 0;
    for (let i = 0; i < perGroup; i++) {
      for (let kh = 0; kh < s.kernelHeight; kh++) {
        const h = top + kh * s.dilationHeight;
        if (h < 0 || h >= s.inHeight) continue;
        for (let kw = 0; kw < s.kernelWidth; kw++) {
          const v = left + kw * s.dilationWidth;
          if (v < 0 || v >= s.inWidth) continue;
          const value = x[((n * s.inChannels + first + i) * s.inHeight + h) * s.inWidth + v]! - xZeroPoint;
          sum = (sum + value * w[((o * perGroup + i) * s.kernelHeight + kh) * s.kernelWidth + kw]!) | 0;
        }
      }
    }
    return sum;
  };
  return Int32Array.from({ length }, (_, index) => {
    const column = index % columns;
    const row = Math.floor(index / columns) % rows;
    const o = Math.floor(index / (columns * rows)) % s.outChannels;
    const n = Math.floor(index / (columns * rows * s.outChannels));
    const sum = window(n, o, row * s.strideHeight - s.padTop, column * s.strideWidth - s.padLeft);
    return (sum + (bias?.[o] ?? 0)) | 0;
  });
}

/** Integer matrix product. */
export function matmulU8S8(
  shape: MatmulShape,
  x: Uint8Array,
  xZeroPoint: number,
  w: Int8Array,
  bias: Int32Array | null,
): Int32Array {
  checkZeroPoint(xZeroPoint);
  checkMatmul(shape, x, w, bias);
  const { m, k, n } = shape;
  return Int32Array.from({ length: m * n }, (_, index) => {
    const row = Math.floor(index / n);
    const column = index % n;
    let sum = bias?.[column] ?? 0;
    for (let i = 0; i < k; i++) sum = (sum + (x[row * k + i]! - xZeroPoint) * w[i * n + column]!) | 0;
    return sum;
  });
}

export function packInt4(x: Int8Array): Uint8Array {
  x.forEach((v, i) => {
    require(v >= -8 && v <= 7, () => `value ${v} at ${i} is outside -8..7`);
  });
  return Uint8Array.from({ length: Math.ceil(x.length / 2) }, (_, i) => {
    return (x[2 * i]! & 15) | (((x[2 * i + 1] ?? 0) & 15) << 4);
  });
}

export function unpackInt4(packed: Uint8Array, count: number): Int8Array {
  return Int8Array.from({ length: count }, (_, i) => {
    const nibble = (packed[i >> 1]! >> (i % 2 === 0 ? 0 : 4)) & 15;
    return nibble < 8 ? nibble : nibble - 16;
  });
}
