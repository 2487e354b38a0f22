import type { GraphNode } from '../../config/graph.js';
import type { Graph } from '../../graph/graph.js';
import { operatorRole } from '../../graph/operators.js';

/**
 * Whether an operator only moves values of its first input, so that its result has the same quantization parameters.
 *
 * Resize does so when it takes the nearest neighbour; Pad when what it fills in is zero (always on the grid) or copied.
 */
export function isPassThrough(graph: Graph, node: GraphNode): boolean {
  switch (node.op) {
    case 'Resize':
    case 'Upsample':
      return (node.attributes.mode ?? 'nearest') === 'nearest';
    case 'Pad':
      if ((node.attributes.mode ?? 'constant') !== 'constant') return true;
      return node.inputs[2] ? graph.value(node.inputs[2])?.[0] === 0 : true;
    default:
      return operatorRole(node.op, node.domain) === 'pass-through';
  }
}
