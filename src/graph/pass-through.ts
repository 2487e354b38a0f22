import type { GraphNode } from '../config/graph.js';
import type { Graph } from './graph.js';
import { operatorRole } from './operators.js';

/**
 * Whether an operator only moves values of its first input, so that its result has the same quantization parameters.
 *
 * Resize does so when it takes the nearest neighbour; Pad when what it fills in is zero (always on the grid) or copied.
 */
export function isPassThrough(graph: Graph, node: GraphNode): boolean {
  switch (operatorRole(node.op, node.domain)) {
    case 'resample':
      return (node.attributes.mode ?? 'nearest') === 'nearest';
    case 'pass-through':
      return node.op !== 'Pad' || padsOnGrid(graph, node);
    default:
      return false;
  }
}

function padsOnGrid(graph: Graph, pad: GraphNode): boolean {
  if ((pad.attributes.mode ?? 'constant') !== 'constant' || !pad.inputs[2]) return true;
  return graph.value(pad.inputs[2])?.[0] === 0;
}

/**
 * The MaxPool behind a Pad with a value below everything, which some exporters write for "same" padding: together they
 * move values, though the Pad alone brings in one that no grid could hold.
 */
export function maxPoolBehindPad(graph: Graph, pad: GraphNode): GraphNode | null {
  const fill = pad.op === 'Pad' ? graph.value(pad.inputs[2])?.[0] : undefined;
  const next = graph.soleReader(pad.outputs[0]!);
  return fill !== undefined && fill < -1e30 && next?.op === 'MaxPool' ? next : null;
}
