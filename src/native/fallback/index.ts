import { checkView, require, requireLength } from '../arguments.js';
import type { NativeCore } from '../types.js';
import * as elementwise from './elementwise.js';
import { divergence } from './entropy.js';
import { emptyHistogram, mergeHistogram, updateHistogram } from './histogram.js';
import { convU8S8, matmulU8S8, packInt4, unpackInt4 } from './integer.js';
import {
  checkFormat,
  checkRange,
  distributionOf,
  percentileRange,
  quantizerOf,
  searchRange,
  squaredError,
} from './range.js';

/** The backend in plain TypeScript, for machines without a compiler: equal results, slower. */
export function fallbackCore(detail: string): NativeCore {
  return {
    backend: 'typescript',
    detail,
    buildInfo: () => ({ backend: 'typescript', threads: 1 }),
    setThreads(threads) {
      require(Number.isInteger(threads) && threads >= 0 && threads <= 256, () => {
        return `threads is ${threads}, expected 0 (one a processor) to 256`;
      });
    },

    histogram: emptyHistogram,
    histogramUpdate: updateHistogram,
    histogramMerge: mergeHistogram,

    rangePercentile: percentileRange,
    rangeMse(histogram, format) {
      checkFormat(format);
      const d = distributionOf(histogram);
      return searchRange(d.min, d.max, format.symmetric, squaredError(d, format));
    },
    rangeEntropy(histogram, format) {
      checkFormat(format);
      const d = distributionOf(histogram);
      return searchRange(d.min, d.max, format.symmetric, divergence(d, format));
    },
    rangeError(histogram, low, high, format) {
      checkFormat(format);
      checkRange(low, high);
      return squaredError(distributionOf(histogram), format)(low, high);
    },
    quantParams(low, high, format) {
      checkFormat(format);
      checkRange(low, high);
      const { scale, zeroPoint } = quantizerOf(low, high, format);
      return { scale, zeroPoint };
    },

    quantize: elementwise.quantize,
    dequantize: elementwise.dequantize,
    fakeQuantize: elementwise.fakeQuantize,
    requantize: elementwise.requantize,

    channelAbsmax(w, view) {
      requireLength('tensor', w, view.outer * view.channels * view.inner);
      return elementwise.channelAbsmax(w, view);
    },
    quantizeI8Channels(w, view, scales) {
      checkView(w, view, scales);
      return elementwise.quantizeI8Channels(w, view, scales);
    },
    dequantizeI8Channels(q, view, scales) {
      checkView(q, view, scales);
      return elementwise.dequantizeI8Channels(q, view, scales);
    },
    fakeQuantizeChannels(w, view, scales, zeroPoints, bounds) {
      checkView(w, view, scales);
      requireLength('zero points', zeroPoints, view.channels);
      return elementwise.fakeQuantizeChannels(w, view, scales, zeroPoints, bounds);
    },

    errorSums(a, b) {
      requireLength('b', b, a.length);
      return elementwise.errorSums(a, b);
    },

    convU8S8,
    matmulU8S8,
    packInt4,
    unpackInt4(packed, count) {
      requireLength('packed', packed, Math.ceil(count / 2));
      return unpackInt4(packed, count);
    },
  };
}
