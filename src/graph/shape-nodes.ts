import type { Graph } from './graph.js';
import { operatorRole } from './operators.js';

/** Nodes that compute with shapes alone, integers or floats (the scales of a Resize pass through a Cast). */
export function shapeNodes(graph: Graph): Set<string> {
  const found = new Set<string>();
  for (const node of graph.nodes) {
    const data = graph.dataInputs(node);
    const derived = data.length > 0 && data.every((tensor) => found.has(graph.producer(tensor)?.name ?? ''));
    if (operatorRole(node.op, node.domain) === 'shape' || derived) found.add(node.name);
  }
  return found;
}
