import type { GraphNode } from '../config/graph.js';
import type { Group } from '../config/plan.js';
import type { Graph } from '../graph/graph.js';
import { roundHalfEven } from '../native/fallback/rounding.js';
import type { Layer } from '../quantize/layers.js';
import type { Activation } from './layers.js';

/**
 * Whether what follows a layer in its group (a Relu or a Clip, or nothing) changes no integer that the quantizer behind it
 * writes: its bounds must round to the ends of the grid, where quantization saturates anyway. The group ends at that
 * quantizer.
 */
export function saturates(graph: Graph, group: Group, layer: Layer, output: Activation): boolean {
  const own = new Set([layer.name, layer.batchNorm?.name, layer.bias?.node]);
  const rest = group.nodes.filter((name) => !own.has(name)).map((name) => graph.node(name)!);
  if (rest.length === 0) return group.output === layer.output;
  const [only] = rest;
  if (rest.length > 1 || only!.inputs[0] !== layer.output || only!.outputs[0] !== group.output) return false;
  const bounds = boundsOf(graph, only!);
  return bounds !== null && graph.soleReader(layer.output) === only && coversGrid(bounds, output);
}

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

/** Whether both bounds quantize to the ends of the integer type or beyond. */
function coversGrid(
  [low, high]: [number, number],
  { bits, signed, scales, zeroPoints }: Activation,
): boolean {
  const smallest = signed ? -(2 ** (bits - 1)) : 0;
  const integer = (value: number): number => roundHalfEven(value / scales[0]!) + zeroPoints[0]!;
  return integer(low) <= smallest && integer(high) >= smallest + 2 ** bits - 1;
}
