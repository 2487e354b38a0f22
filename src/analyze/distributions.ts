import type { Distribution } from '../config/analysis.js';
import { Bug } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { SafetensorsFile } from '../graph/safetensors.js';
import type { NativeCore } from '../native/index.js';
import { channelView } from '../quantize/algorithms/channel-view.js';
import type { Layer } from '../quantize/layers.js';
import { outputChannelAxis } from '../quantize/plan/weights.js';
import type { Observed } from '../quantize/solution.js';
import { histogramView, VIEW_BINS } from '../report/distribution.js';
import { channelFindings } from './algorithms/channels.js';
import { type GrowthPoint, lastDoubling } from './algorithms/growth.js';
import { kurtosis, type Moments, momentsOf, pooled } from './algorithms/moments.js';
import { tailRatio } from './algorithms/tail.js';

/** Bins that the tail of a weight is looked for in, and how many of them make one that a report draws. */
const WEIGHT_BINS = 4096;
const MERGED = WEIGHT_BINS / VIEW_BINS;

/** Convolutions have channels on axis 1, everything else on the last one. */
export function channelAxisOf(graph: Graph, tensor: string): number {
  const convolves = (op: string | undefined): boolean => op === 'Conv' || op === 'ConvTranspose';
  const near = [graph.producer(tensor), ...graph.readers(tensor).map(({ node }) => node)];
  const rank = graph.shape(tensor)?.length ?? 4;
  return near.some((node) => convolves(node?.op)) || rank === 4 ? 1 : -1;
}

/** What `profile` of src/bridge/protocol.ts wrote of one tensor; null where it saw nothing. */
export interface TensorProfile {
  channels: Moments[];
  growth: GrowthPoint[];
}

export function readProfile(file: SafetensorsFile, tensor: string): TensorProfile | null {
  const moments = file.get(`${tensor}/moments`);
  const growth = file.get(`${tensor}/growth`);
  if (!moments || !growth) return null;
  if (!(moments.data instanceof Float64Array && growth.data instanceof Float64Array))
    throw new Bug(`${file.path}: ${tensor} has no table of moments`);
  const [table, channels, points] = [moments.data, moments.shape[1]!, growth.data];
  return {
    channels: Array.from({ length: channels }, (_, c) => {
      const [count, low, high, ...sums] = Array.from({ length: 7 }, (_, row) => table[row * channels + c]!);
      const empty = count === 0;
      return { count: count!, low: empty ? 0 : low!, high: empty ? 0 : high!, sums: sums as never };
    }),
    growth: Array.from({ length: growth.shape[0]! }, (_, i) => ({
      samples: points[3 * i]!,
      low: points[3 * i + 1]!,
      high: points[3 * i + 2]!,
    })),
  };
}

/** How the values of an activation lie; the histogram is that of calibration. */
export function activationDistribution(
  { channels, growth }: TensorProfile,
  observed: Observed | undefined,
): Distribution {
  const all = pooled(channels);
  const { histogram, statistics } = observed ?? {};
  const bins = histogram && {
    from: histogram.base * histogram.width,
    width: histogram.width,
    counts: histogram.counts,
  };
  const most = statistics ? Math.max(Math.abs(statistics.min), Math.abs(statistics.max)) : 0;
  return {
    low: all.low,
    high: all.high,
    kurtosis: figure(kurtosis(all)),
    tail: bins ? figure(tailRatio(bins, statistics!.zeros, most)) : null,
    channels: channelFindings(channels.map(({ low, high }) => Math.max(Math.abs(low), Math.abs(high)))),
    histogram: statistics ? histogramView(statistics, histogram!.counts).counts : [],
    growth: { points: growth, lastDoubling: lastDoubling(growth) },
  };
}

/** How the weights of a layer lie, batch normalization folded in. */
export function weightDistribution(core: NativeCore, graph: Graph, layer: Layer): Distribution {
  const { weight, shape, plan } = layer;
  const moments = momentsOf(weight);
  const most = Math.max(Math.abs(moments.low), Math.abs(moments.high));
  const width = (moments.high - moments.low) / WEIGHT_BINS;
  const counts = new Uint32Array(WEIGHT_BINS);
  if (width > 0)
    for (const w of weight) counts[Math.min(WEIGHT_BINS - 1, Math.floor((w - moments.low) / width))]!++;
  const axis = plan.axis ?? outputChannelAxis(graph.node(layer.name)!, shape.length);
  const reach = core.channelAbsmax(weight, channelView(shape, axis));
  return {
    low: moments.low,
    high: moments.high,
    kurtosis: figure(kurtosis(moments)),
    tail: width > 0 ? figure(tailRatio({ from: moments.low, width, counts }, 0, most)) : null,
    channels: channelFindings([...reach]),
    histogram: Array.from({ length: VIEW_BINS }, (_, k) =>
      counts.subarray(k * MERGED, (k + 1) * MERGED).reduce((sum, count) => sum + count, 0),
    ),
    growth: null,
  };
}

/** Enough digits for a reader. */
const figure = (value: number | null): number | null =>
  value === null ? null : Number(value.toPrecision(6));
