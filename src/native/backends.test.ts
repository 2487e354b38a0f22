import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { candidates, load } from './index.js';
import type { Histogram, IntegerFormat, NativeCore } from './types.js';

// Every property is checked between the native core and its TypeScript twin; without a library there is nothing to
// compare, and the suite says so.
const library = candidates(process.env)[0]!;
const built = existsSync(library);
const fallback = load([], () => {});
const native: NativeCore = built ? load([library], () => {}) : fallback;

const floats = fc.float32Array({ maxLength: 200 });
const finite = fc.float32Array({ noNaN: true, noDefaultInfinity: true, maxLength: 300 });
const tame = fc.float32Array({ noNaN: true, min: -1000, max: 1000, minLength: 1, maxLength: 400 });
const scale = fc.oneof(
  fc.float({ min: Math.fround(1e-6), max: 100, noNaN: true }),
  fc.constantFrom(2 ** -149, 2 ** -126, 1, 2 ** 100),
);
const format: fc.Arbitrary<IntegerFormat> = fc.oneof(
  fc.record({ bits: fc.integer({ min: 2, max: 16 }), signed: fc.boolean(), symmetric: fc.constant(false) }),
  fc.record({
    bits: fc.integer({ min: 2, max: 16 }),
    signed: fc.constant(true),
    symmetric: fc.constant(true),
  }),
);
const bounds = { u8: [0, 255], i8: [-128, 127], u16: [0, 65535], i16: [-32768, 32767] } as const;

/** Same bytes, so that -0 and 0 differ. */
function expectSame(a: ArrayBufferView, b: ArrayBufferView): void {
  const bytes = (v: ArrayBufferView) => Buffer.from(v.buffer, v.byteOffset, v.byteLength);
  expect(bytes(a).equals(bytes(b)), `${a} and ${b}`).toBe(true);
}

function expectNear(a: number, b: number, relative: number, absolute = 0): void {
  expect(Math.abs(a - b)).toBeLessThanOrEqual(relative * Math.max(Math.abs(a), Math.abs(b)) + absolute);
}

function observed(core: NativeCore, bins: number, ...batches: Float32Array[]): Histogram {
  const histogram = core.histogram(bins);
  for (const batch of batches) core.histogramUpdate(histogram, batch);
  return histogram;
}

function expectSameHistogram(a: Histogram, b: Histogram): void {
  const { sum, sumSquares, counts, ...rest } = a;
  const { sum: otherSum, sumSquares: otherSquares, counts: otherCounts, ...others } = b;
  expect(rest).toEqual(others);
  expectSame(counts, otherCounts);
  expectNear(sumSquares, otherSquares, 1e-9);
  expectNear(sum, otherSum, 0, 1e-9 * Math.sqrt(a.count * sumSquares));
}

describe.skipIf(!built)(`native core and TypeScript core (${library})`, () => {
  it('observe alike, in batches and merged', () => {
    fc.assert(
      fc.property(fc.array(floats, { maxLength: 3 }), fc.integer({ min: 8, max: 100 }), (batches, bins) => {
        const a = observed(native, bins, ...batches);
        const b = observed(fallback, bins, ...batches);
        expectSameHistogram(a, b);
        const merged = batches.map((batch) => observed(fallback, bins, batch));
        const mergedNatively = batches.map((batch) => observed(native, bins, batch));
        for (let i = 1; i < batches.length; i++) {
          fallback.histogramMerge(merged[0]!, merged[i]!);
          native.histogramMerge(mergedNatively[0]!, mergedNatively[i]!);
        }
        if (batches.length > 0) {
          expectSameHistogram(merged[0]!, a);
          expectSameHistogram(mergedNatively[0]!, a);
        }
      }),
    );
  });

  it('sweep ranges alike', () => {
    fc.assert(
      fc.property(fc.oneof(tame, finite), fc.integer({ min: 8, max: 600 }), format, (x, bins, f) => {
        const h = observed(fallback, bins, x);
        expect(fallback.rangeMse(h, f)).toEqual(native.rangeMse(h, f));
        const a = native.rangeEntropy(h, f);
        const b = fallback.rangeEntropy(h, f);
        // The logarithms may differ in the last digit, so may the choice between ranges that cost the same.
        expectNear(a.error, b.error, 1e-9, 1e-12);
        for (const [low, high] of [
          [h.min, h.max],
          [b.low, b.high / 2],
        ] as const) {
          expect(fallback.rangeError(h, low, high, f)).toBe(native.rangeError(h, low, high, f));
        }
      }),
      { numRuns: 60 },
    );
  });

  it('take percentiles alike', () => {
    const share = fc.double({ min: 0.5, max: 1, noNaN: true });
    fc.assert(
      fc.property(finite, fc.integer({ min: 8, max: 600 }), share, (x, bins, fraction) => {
        const h = observed(native, bins, x);
        expect(fallback.rangePercentile(h, fraction)).toEqual(native.rangePercentile(h, fraction));
      }),
    );
  });

  it('give the same scales and zero points', () => {
    const end = fc.double({ min: 0, max: 3e38, noNaN: true });
    fc.assert(
      fc.property(end, end, format, (below, above, f) => {
        expect(fallback.quantParams(-below, above, f)).toEqual(native.quantParams(-below, above, f));
      }),
    );
  });

  for (const type of ['u8', 'i8', 'u16', 'i16'] as const) {
    it(`quantize and dequantize ${type} alike`, () => {
      const [qmin, qmax] = bounds[type];
      fc.assert(
        fc.property(floats, scale, fc.integer({ min: qmin, max: qmax }), (x, s, zeroPoint) => {
          const params = { scale: s, zeroPoint };
          const q = native.quantize(x, params, type);
          expectSame(q, fallback.quantize(x, params, type));
          const back = native.dequantize(q, params);
          expectSame(back, fallback.dequantize(q, params));
          expectSame(back, native.fakeQuantize(x, params, { qmin, qmax }));
          expectSame(back, fallback.fakeQuantize(x, params, { qmin, qmax }));
        }),
      );
    });
  }

  it('handle accumulators alike', () => {
    const zeroPoint = fc.integer({ min: 0, max: 127 });
    fc.assert(
      fc.property(
        fc.int32Array({ maxLength: 100 }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        zeroPoint,
        (acc, multiplier, z) => {
          expectSame(
            native.requantize(acc, multiplier, z, 'u8'),
            fallback.requantize(acc, multiplier, z, 'u8'),
          );
          expectSame(
            native.requantize(acc, multiplier, z, 'i8'),
            fallback.requantize(acc, multiplier, z, 'i8'),
          );
          const params = { scale: 0.37, zeroPoint: z };
          expectSame(native.dequantize(acc, params), fallback.dequantize(acc, params));
        },
      ),
    );
  });

  it('treat channels alike', () => {
    const size = fc.integer({ min: 0, max: 6 });
    fc.assert(
      fc.property(
        size,
        size,
        size,
        fc.infiniteStream(fc.float()),
        scale,
        (outer, channels, inner, stream, s) => {
          const view = { outer, channels, inner };
          const w = Float32Array.from({ length: outer * channels * inner }, () => stream.next().value);
          const scales = new Float32Array(channels).fill(s).map((v, c) => v * (1 + (c % 3)));
          const zeroPoints = new Int32Array(channels).fill(5);
          expectSame(native.channelAbsmax(w, view), fallback.channelAbsmax(w, view));
          const q = native.quantizeI8Channels(w, view, scales);
          expectSame(q, fallback.quantizeI8Channels(w, view, scales));
          expectSame(
            native.dequantizeI8Channels(q, view, scales),
            fallback.dequantizeI8Channels(q, view, scales),
          );
          for (const zeros of [null, zeroPoints]) {
            const range = { qmin: 0, qmax: 15 };
            expectSame(
              native.fakeQuantizeChannels(w, view, scales, zeros, range),
              fallback.fakeQuantizeChannels(w, view, scales, zeros, range),
            );
          }
        },
      ),
    );
  });

  it('sum errors alike, to the last bit', () => {
    fc.assert(
      fc.property(floats, (a) => {
        const b = a.map((v, i) => v * (1 + i / 1000));
        expect(fallback.errorSums(a, b)).toEqual(native.errorSums(a, b));
      }),
    );
    const long = Float32Array.from({ length: 5001 }, (_, i) => Math.sin(i) * 10 ** (i % 7));
    expect(fallback.errorSums(long, long.map(Math.fround))).toEqual(native.errorSums(long, long));
  });

  it('convolve and multiply alike', () => {
    const small = fc.integer({ min: 1, max: 3 });
    const pad = fc.integer({ min: 0, max: 2 });
    const shape = fc.record({
      batch: small,
      inChannels: small,
      inHeight: fc.integer({ min: 5, max: 7 }),
      inWidth: fc.integer({ min: 5, max: 7 }),
      outChannels: small,
      kernelHeight: small,
      kernelWidth: small,
      groups: small,
      strideHeight: small,
      strideWidth: small,
      dilationHeight: fc.constantFrom(1, 2),
      dilationWidth: fc.constantFrom(1, 2),
      padTop: pad,
      padLeft: pad,
      padBottom: pad,
      padRight: pad,
    });
    fc.assert(
      fc.property(shape, fc.integer({ min: 0, max: 255 }), fc.boolean(), (s, zeroPoint, biased) => {
        s.inChannels *= s.groups;
        s.outChannels *= s.groups;
        const x = Uint8Array.from(
          { length: s.batch * s.inChannels * s.inHeight * s.inWidth },
          (_, i) => i * 37,
        );
        const length = ((s.outChannels * s.inChannels) / s.groups) * s.kernelHeight * s.kernelWidth;
        const w = Int8Array.from({ length }, (_, i) => i * 91);
        const bias = biased ? Int32Array.from({ length: s.outChannels }, (_, i) => i * 1000) : null;
        expectSame(native.convU8S8(s, x, zeroPoint, w, bias), fallback.convU8S8(s, x, zeroPoint, w, bias));
        const product = { m: s.batch, k: s.kernelHeight, n: s.outChannels };
        const left = x.subarray(0, product.m * product.k);
        const right = Int8Array.from({ length: product.k * product.n }, (_, i) => i * 53);
        expectSame(
          native.matmulU8S8(product, left, zeroPoint, right, bias),
          fallback.matmulU8S8(product, left, zeroPoint, right, bias),
        );
      }),
    );
  });

  it('pack alike and back', () => {
    fc.assert(
      fc.property(fc.int8Array({ min: -8, max: 7, maxLength: 40 }), (x) => {
        const packed = native.packInt4(x);
        expectSame(packed, fallback.packInt4(x));
        expectSame(native.unpackInt4(packed, x.length), x);
        expectSame(fallback.unpackInt4(packed, x.length), x);
      }),
    );
  });
});
