import type { GraphNode } from '../config/graph.js';
import type { Group } from '../config/plan.js';
import type { Graph } from '../graph/graph.js';
import { roundHalfEven } from '../native/fallback/rounding.js';
import type { Layer } from '../quantize/layers.js';
import type { Activation } from './layers.js';

/**
 * The integers that what follows a layer in its group (a Relu or a Clip, or nothing) leaves of those that the quantizer
 * behind it writes, [lowest, highest]; null where the group is more than that. Rounding is monotone, so confining values
 * and then rounding them gives the same integers as rounding and then confining integers. The group ends at that quantizer.
 */
export function integersLeft(
  graph: Graph,
  group: Group,
  layer: Layer,
  output: Activation,
): [number, number] | null {
  const own = new Set([layer.name, layer.batchNorm?.name, layer.bias?.node]);
  const rest = group.nodes.filter((name) => !own.has(name)).map((name) => graph.node(name)!);
  if (rest.length === 0) return group.output === layer.output ? gridOf(output) : null;
  const [only] = rest;
  if (rest.length > 1 || only!.inputs[0] !== layer.output || only!.outputs[0] !== group.output) return null;
  if (graph.soleReader(layer.output) !== only) return null;
  const bounds = boundsOf(graph, only!);
  return bounds && within(bounds, output);
}

/** Whether that is the whole grid, where quantization saturates anyway. */
export const isWholeGrid = ([low, high]: readonly [number, number], output: Activation): boolean => {
  const [smallest, largest] = gridOf(output);
  return low === smallest && high === largest;
};

/** The interval that a Relu or Clip confines to; null for other functions and for bounds that are not known. */
function boundsOf(graph: Graph, node: GraphNode): [number, number] | null {
  if (node.op === 'Relu') return [0, Number.POSITIVE_INFINITY];
  if (node.op !== 'Clip') return null;
  const bound = (index: number, none: number): number | undefined =>
    node.inputs[index] ? graph.value(node.inputs[index])?.[0] : none;
  const low = bound(1, Number.NEGATIVE_INFINITY);
  const high = bound(2, Number.POSITIVE_INFINITY);
  return low === undefined || high === undefined ? null : [low, high];
}

/** Smallest and largest integer of a quantizer. */
function gridOf({ bits, signed }: Activation): [number, number] {
  const smallest = signed ? -(2 ** (bits - 1)) : 0;
  return [smallest, smallest + 2 ** bits - 1];
}

/** The integers that bounds quantize to. */
function within(bounds: [number, number], output: Activation): [number, number] {
  const [smallest, largest] = gridOf(output);
  const [low, high] = bounds.map((value) => {
    const integer = roundHalfEven(value / output.scales[0]!) + output.zeroPoints[0]!;
    return Math.min(Math.max(integer, smallest), largest);
  });
  return [low!, high!];
}
