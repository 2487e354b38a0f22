import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Activation, readNetwork } from '../export/layers.js';
import type { RunFiles } from '../export/run-files.js';
import type { Tensor } from '../graph/safetensors.js';
import type { NativeCore } from '../native/index.js';
import { channelView } from '../quantize/algorithms/channel-view.js';
import { weightScales } from '../quantize/algorithms/weights.js';
import type { Layer } from '../quantize/layers.js';
import { loadObserved } from '../quantize/observe.js';
import { outputChannelAxis } from '../quantize/plan/weights.js';
import type { Observed } from '../quantize/solution.js';

/** The numbers of a finished run that an analysis works with. */
export interface Subject {
  /** With their float weights. */
  layers: Layer[];
  activations: ReadonlyMap<string, Activation>;
  /**
   * The weight of each layer rounded to the nearest on its grid, by `roundedWeight`: what its quantizer does alone. What
   * the run wrote also makes up for errors of other quantizers, which would count against it here.
   */
  weights: Map<string, Tensor>;
  /** What calibration saw; empty where the stage was removed to save room. */
  observed: ReadonlyMap<string, Observed>;
}

/** Name of a layer's rounded weight among the values of a job. */
export const roundedWeight = (layer: string): string => `${layer}/rounded`;

/** Name of the weight of a layer rounded with a scale a channel, where the run gave it one for all. */
export const channelwiseWeight = (layer: string): string => `${layer}/channelwise`;

export function readSubject(core: NativeCore, run: RunFiles): Subject {
  const stage = join(run.folder, 'stages', 'observe');
  const statistics = join(stage, 'statistics.json');
  return {
    ...readNumbers(core, run),
    observed: existsSync(statistics)
      ? loadObserved(statistics, join(stage, 'statistics.safetensors')).observed
      : new Map(),
  };
}

/** What an apply stage wrote, for a network that is not finished yet. */
export function readNumbers(
  core: NativeCore,
  run: Pick<RunFiles, 'graph' | 'plan' | 'parameters' | 'weights'>,
): Omit<Subject, 'observed'> {
  const network = readNetwork(run);
  return {
    layers: network.layers.map(({ layer }) => layer),
    activations: network.activations,
    weights: new Map(
      network.layers.flatMap(({ layer, node, scales }): [string, Tensor][] => {
        const { name, plan, weight, shape } = layer;
        const nearest = roundedTo(core, layer, scales, plan.axis);
        const axis = outputChannelAxis(node, shape.length);
        if (plan.axis !== null || axis === null) return [[roundedWeight(name), nearest]];
        const absmax = core.channelAbsmax(weight, channelView(shape, axis));
        const separate = weightScales(absmax, plan.format.bits, null, [1]);
        return [
          [roundedWeight(name), nearest],
          [channelwiseWeight(name), roundedTo(core, layer, separate, axis)],
        ];
      }),
    ),
  };
}

/** A weight rounded to the nearest on the grid of scales along an axis. */
function roundedTo(
  core: NativeCore,
  { weight, shape }: Layer,
  scales: Float32Array,
  axis: number | null,
): Tensor {
  const view = channelView(shape, axis);
  const integers = core.quantizeI8Channels(weight, view, scales);
  return { data: core.dequantizeI8Channels(integers, view, scales), shape };
}
