import {
  checkCounts,
  checkMatmul,
  checkView,
  convOutput,
  integerArray,
  integerType,
  nativeError,
  requireLength,
} from './arguments.js';
import type { Library } from './library.js';
import { CONV_MEMBERS, type FunctionName, HISTOGRAM_MEMBERS } from './signatures.js';
import type { ConvShape, FittedClip, Histogram, IntegerFormat, NativeCore } from './types.js';

/** Size of `dopt_histogram` and `dopt_conv2d_shape`: all members but the two floats are 8 bytes. */
const HISTOGRAM_SIZE = 8 * (Object.keys(HISTOGRAM_MEMBERS).length - 2) + 2 * 4;
const CONV_SIZE = 8 * (CONV_MEMBERS.length + 1);

/** The native backend over an opened library. */
export function koffiCore({ path, functions }: Library): NativeCore {
  const call = (name: FunctionName, ...args: unknown[]): void => {
    if (functions[name](...args) !== 0) throw nativeError(`${name}: ${functions.dopt_last_error()}`);
  };
  /** Calls with one output array of doubles a name in `outputs`, passed last, and gives their values. */
  const doubles = (count: number, run: (...outputs: Float64Array[]) => void): number[] => {
    const outputs = Array.from({ length: count }, () => new Float64Array(1));
    run(...outputs);
    return outputs.map((output) => output[0]!);
  };
  const sweep = (name: FunctionName, histogram: Histogram, format: IntegerFormat): FittedClip => {
    checkCounts(histogram);
    const [low, high, error] = doubles(3, (...outputs) =>
      call(name, stateOf(histogram), histogram.counts, ...formatOf(format), ...outputs),
    ) as [number, number, number];
    return { low, high, error };
  };
  const into = <T>(output: T, run: (output: T) => void): T => {
    run(output);
    return output;
  };

  return {
    backend: 'native',
    detail: path,
    buildInfo: () => JSON.parse(functions.dopt_build_info() as string),
    setThreads: (threads) => call('dopt_set_threads', threads),

    histogram(bins) {
      const state = stateOf({} as Histogram);
      call('dopt_histogram_init', state, bins);
      return Object.assign({ counts: new BigUint64Array(bins) }, fieldsOf(state)) as Histogram;
    },
    histogramUpdate(histogram, x) {
      checkCounts(histogram);
      const state = stateOf(histogram);
      call('dopt_histogram_update', state, histogram.counts, x, x.length);
      Object.assign(histogram, fieldsOf(state));
    },
    histogramMerge(histogram, from) {
      checkCounts(histogram);
      checkCounts(from);
      const state = stateOf(histogram);
      call('dopt_histogram_merge', state, histogram.counts, stateOf(from), from.counts);
      Object.assign(histogram, fieldsOf(state));
    },

    rangePercentile(histogram, fraction) {
      checkCounts(histogram);
      const [low, high] = doubles(2, (...outputs) =>
        call('dopt_range_percentile', stateOf(histogram), histogram.counts, fraction, ...outputs),
      ) as [number, number];
      return { low, high };
    },
    rangeMse: (histogram, format) => sweep('dopt_range_mse', histogram, format),
    rangeEntropy: (histogram, format) => sweep('dopt_range_entropy', histogram, format),
    rangeError(histogram, low, high, format) {
      checkCounts(histogram);
      return doubles(1, (error) =>
        call('dopt_range_error', stateOf(histogram), histogram.counts, low, high, ...formatOf(format), error),
      )[0]!;
    },
    quantParams(low, high, format) {
      const scale = new Float32Array(1);
      const zeroPoint = new Int32Array(1);
      call('dopt_quant_params', low, high, ...formatOf(format), scale, zeroPoint);
      return { scale: scale[0]!, zeroPoint: zeroPoint[0]! };
    },

    quantize: (x, { scale, zeroPoint }, type) =>
      into(integerArray(type, x.length), (out) =>
        call(`dopt_quantize_${type}`, x, x.length, scale, zeroPoint, out),
      ),
    dequantize: (q, { scale, zeroPoint }) =>
      into(new Float32Array(q.length), (out) =>
        call(`dopt_dequantize_${integerType(q)}`, q, q.length, scale, zeroPoint, out),
      ),
    fakeQuantize: (x, { scale, zeroPoint }, { qmin, qmax }) =>
      into(new Float32Array(x.length), (out) =>
        call('dopt_fake_quantize', x, x.length, scale, zeroPoint, qmin, qmax, out),
      ),
    requantize: (accumulators, multiplier, zeroPoint, type) =>
      into(integerArray(type, accumulators.length), (out) =>
        call(`dopt_requantize_i32_${type}`, accumulators, accumulators.length, multiplier, zeroPoint, out),
      ),

    channelAbsmax(w, { outer, channels, inner }) {
      requireLength('tensor', w, outer * channels * inner);
      return into(new Float32Array(channels), (out) =>
        call('dopt_channel_absmax', w, outer, channels, inner, out),
      );
    },
    quantizeI8Channels(w, view, scales) {
      checkView(w, view, scales);
      const { outer, channels, inner } = view;
      return into(new Int8Array(w.length), (out) =>
        call('dopt_quantize_i8_channels', w, outer, channels, inner, scales, out),
      );
    },
    dequantizeI8Channels(q, view, scales) {
      checkView(q, view, scales);
      const { outer, channels, inner } = view;
      return into(new Float32Array(q.length), (out) =>
        call('dopt_dequantize_i8_channels', q, outer, channels, inner, scales, out),
      );
    },
    fakeQuantizeChannels(w, view, scales, zeroPoints, { qmin, qmax }) {
      checkView(w, view, scales);
      requireLength('zero points', zeroPoints, view.channels);
      const { outer, channels, inner } = view;
      return into(new Float32Array(w.length), (out) =>
        call('dopt_fake_quantize_channels', w, outer, channels, inner, scales, zeroPoints, qmin, qmax, out),
      );
    },

    errorSums(a, b) {
      requireLength('b', b, a.length);
      const [signal, noise, dot, powerB] = doubles(4, (...outputs) =>
        call('dopt_error_sums', a, b, a.length, ...outputs),
      ) as [number, number, number, number];
      return { signal, noise, dot, powerB };
    },

    convU8S8: (shape, x, xZeroPoint, w, bias) =>
      into(new Int32Array(convOutput(shape, x, w, bias).length), (out) =>
        call('dopt_conv2d_u8s8_s32', convOf(shape), x, xZeroPoint, w, bias, out),
      ),
    matmulU8S8(shape, x, xZeroPoint, w, bias) {
      checkMatmul(shape, x, w, bias);
      const { m, k, n } = shape;
      return into(new Int32Array(m * n), (out) =>
        call('dopt_matmul_u8s8_s32', x, xZeroPoint, w, bias, m, k, n, out),
      );
    },

    packInt4: (x) =>
      into(new Uint8Array(Math.ceil(x.length / 2)), (out) => call('dopt_pack_int4', x, x.length, out)),
    unpackInt4(packed, count) {
      requireLength('packed', packed, Math.ceil(count / 2));
      return into(new Int8Array(count), (out) => call('dopt_unpack_int4', packed, count, out));
    },
  };
}

/** A histogram as `dopt_histogram`; members that are not there are 0. */
function stateOf(histogram: Histogram): Record<string, number> {
  const { sumSquares, ...rest } = histogram;
  const fields: Record<string, unknown> = { ...rest, sum_squares: sumSquares, struct_size: HISTOGRAM_SIZE };
  return Object.fromEntries(
    Object.keys(HISTOGRAM_MEMBERS).map((member) => [member, Number(fields[member] ?? 0)]),
  );
}

/** The other way round, without the counts. */
function fieldsOf(state: Record<string, number>): Omit<Histogram, 'counts'> {
  const { struct_size: _, sum_squares: sumSquares, ...rest } = state;
  const numbers = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, Number(value)]));
  return { ...numbers, sumSquares } as Omit<Histogram, 'counts'>;
}

function formatOf({ bits, signed, symmetric }: IntegerFormat): [number, number, number] {
  return [bits, Number(signed), Number(symmetric)];
}

function convOf(shape: ConvShape): Record<string, number> {
  const camel = (member: string) => member.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  const members = CONV_MEMBERS.map((member) => [member, shape[camel(member) as keyof ConvShape]]);
  return { struct_size: CONV_SIZE, ...Object.fromEntries(members) };
}
