import type { Plan } from '../config/plan.js';
import { type Statistics, statisticsSchema } from '../config/statistics.js';
import { Bug } from '../errors.js';
import { SafetensorsFile } from '../graph/safetensors.js';
import { readRunFile } from '../run/run-file.js';
import type { ChannelStatistics } from './algorithms/channel-scales.js';
import type { Observed } from './solution.js';

/** Tensors whose values calibration must see: all that take their range from data, and what concats compare. */
export function tensorsToObserve(plan: Plan): string[] {
  const observed = plan.activations
    .filter(({ range }) => range.kind !== 'shared')
    .map(({ tensor }) => tensor);
  return [...new Set([...observed, ...plan.concats.flatMap(({ inputs, output }) => [...inputs, output])])];
}

/** What the observe stage wrote, tensor by tensor, with histograms in the form that the native core takes. */
export function loadObserved(
  statisticsPath: string,
  histogramsPath: string,
): { statistics: Statistics; observed: Map<string, Observed> } {
  const statistics = readRunFile(statisticsPath, statisticsSchema);
  const file = SafetensorsFile.open(histogramsPath);
  const observed = statistics.tensors.map((tensor): [string, Observed] => {
    const counts = file.get(tensor.tensor)?.data;
    if (!(counts instanceof BigUint64Array))
      throw new Bug(`${histogramsPath} has no counts for ${tensor.tensor}`);
    return [tensor.tensor, { statistics: tensor, histogram: { ...tensor, ...tensor.histogram, counts } }];
  });
  return { statistics, observed: new Map(observed) };
}

/** Tensors that may take a scale a channel, with the axis of their channels. */
export function tensorsWithChannels(plan: Plan): { tensor: string; axis: number }[] {
  return plan.activations.flatMap(({ tensor, channelAxis }) =>
    channelAxis === null ? [] : [{ tensor, axis: channelAxis }],
  );
}

/** What observeChannels wrote. */
export function loadChannels(path: string): Map<string, ChannelStatistics> {
  const file = SafetensorsFile.open(path);
  return new Map(
    file.names.map((name) => {
      const { data, shape } = file.get(name)!;
      if (!(data instanceof Float64Array))
        throw new Bug(`${path}: ${name} is no table of channel statistics`);
      const row = (index: number): Float64Array => data.slice(index * shape[1]!, (index + 1) * shape[1]!);
      return [name, { min: row(0), max: row(1), meanSquare: row(2), mean: row(3) }];
    }),
  );
}
