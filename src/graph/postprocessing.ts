import type { GraphNode } from '../config/graph.js';
import type { Graph } from './graph.js';
import { operatorRole } from './operators.js';

/**
 * Nodes that lead only to graph outputs without passing another layer: decoding of boxes, concatenation of unlike
 * heads, softmax, resizing of a result. They stay float, and with them the results of the last layers: boxes of 0..640
 * and scores of 0..1 in one 8-bit tensor would leave nothing of the scores, exp() of a rounded value misses by percents.
 */
export function postprocessingNodes(graph: Graph): Set<string> {
  const tail = new Set<string>();
  for (const node of [...graph.nodes].reverse()) {
    if (isLayer(graph, node)) continue;
    const outputs = node.outputs.filter((output) => output !== '');
    const leadsOut = outputs.every((output) => {
      if (graph.captured.has(output)) return false;
      const readers = graph.readers(output);
      return (
        (graph.isOutput(output) || readers.length > 0) && readers.every((use) => tail.has(use.node.name))
      );
    });
    if (leadsOut && outputs.length > 0) tail.add(node.name);
  }
  return tail;
}

/** Whether a node is a layer proper. The convolution of a DFL head, which only takes an expectation, is none. */
function isLayer(graph: Graph, node: GraphNode): boolean {
  return operatorRole(node.op, node.domain) === 'weighted' && !isExpectation(graph, node);
}

/**
 * Distribution focal loss (Li et al., arXiv 2006.04388): a softmax over bins, then a 1×1 convolution or product with the
 * constant 0, 1, 2, … that turns the distribution of a box side into its expectation.
 */
function isExpectation(graph: Graph, node: GraphNode): boolean {
  const weight = graph.value(node.inputs[1]);
  if (!weight || weight.length < 4) return false;
  const step = weight[1]! - weight[0]!;
  return (
    step !== 0 &&
    weight.every((value, index) => Math.abs(value - weight[0]! - index * step) < 1e-5 * weight.length)
  );
}
