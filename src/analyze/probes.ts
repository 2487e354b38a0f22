import type { Params } from '../bridge/protocol.js';
import type { Plan, QuantizerFormat } from '../config/plan.js';
import type { Graph } from '../graph/graph.js';
import type { ScaleZeroPoint } from '../native/index.js';
import { dequantized } from '../quantize/apply.js';
import type { Layer } from '../quantize/layers.js';
import { valueTensors } from '../quantize/plan/integer-groups.js';
import { weightOf } from './instrument.js';

type Probe = Params<'sensitivity'>['probes'][number];

/** A grid for the values of an activation; null leaves them as they are. */
export type Grid = Extract<Probe['change'], { kind: 'activation' }>['quantizers'][number];

/** A grid of one scale, or of one a channel along `axis`. */
export function gridOf(
  { bits, signed }: Pick<QuantizerFormat, 'bits' | 'signed'>,
  parameters: readonly ScaleZeroPoint[],
  axis: number | null,
): Grid {
  return {
    bits,
    signed,
    axis: axis ?? 0,
    scales: parameters.map(({ scale }) => scale),
    zeroPoints: parameters.map(({ zeroPoint }) => zeroPoint),
  };
}

/** Name of the probe of a layer's weight; activations are probed under their own names. */
export const weightProbeName = (layer: string): string => `weight of ${layer}`;

/** Tries grids for one activation. `layers` are watched too: the results of the integer operators that read it. */
export function activationProbe(tensor: string, quantizers: Grid[], layers: string[] = []): Probe {
  return {
    name: tensor,
    change: { kind: 'activation', tensor, instead: dequantized(tensor), watch: layers, quantizers },
  };
}

/** Tries values, by their names in the job's file, for the weight of a layer. */
export function weightProbe({ name, output }: Layer, values: string[]): Probe {
  return {
    name: weightProbeName(name),
    change: { kind: 'weight', tensor: dequantized(weightOf(name)), output, values },
  };
}

/** Results of the integer operators that compute with a tensor. */
export function readingLayers(graph: Graph, plan: Plan, tensor: string): string[] {
  return plan.groups
    .filter((group) => group.quantized && group.kind !== 'pass-through')
    .filter((group) => valueTensors(graph, group).includes(tensor) && group.output !== '')
    .map(({ output }) => output);
}

/** Noise over signal at the outputs, the mean over those that carry a signal; what quantizers are ranked by. */
export function relativeNoise(outputs: readonly { signal: number }[], noise: readonly number[]): number {
  const ratios = outputs.flatMap(({ signal }, index) => (signal > 0 ? [noise[index]! / signal] : []));
  return ratios.reduce((sum, ratio) => sum + ratio, 0) / Math.max(1, ratios.length);
}
