import type { GraphNode } from '../config/graph.js';
import { isInferenceBatchNorm } from './batch-norm.js';
import { functionName, normalizationName } from './function-name.js';
import type { Graph } from './graph.js';
import { isElementwise, isReduction } from './operators.js';

/**
 * Nodes that together compute a function of one tensor: an activation in any spelling (x·σ(x), x·clip(x+3, 0, 6)/6,
 * ½x(1+erf(x/√2)), …), with the gains and offsets by constants before it, or a normalization written out.
 */
export interface FunctionRegion {
  /** In graph order; the last one yields the result. */
  nodes: GraphNode[];
  output: string;
  /** Usual name of the function ('Relu', 'SiLU', 'LayerNormalization', …); null for gains and offsets alone. */
  name: string | null;
  /** Whether it normalizes over an axis and so is no function of each element. */
  normalizes: boolean;
}

/** Longest spelling in use: a layer normalization with gain and offset takes 11 nodes, a GELU by tanh 9. */
const MOST_NODES = 16;

/**
 * The function that an NPU evaluates in the same kernel as the layer or sum that computes `tensor`, or null. Whatever
 * else reads the tensor, or a step inside, would want a value that the kernel does not write: then nothing is fused.
 */
export function fuseBehind(
  graph: Graph,
  tensor: string,
  accepts: (node: GraphNode) => boolean = () => true,
): FunctionRegion | null {
  const nodes = closure(graph, tensor, (node) => isFunctionNode(graph, node) && accepts(node));
  const region = regions(graph, tensor, nodes).find(
    (candidate) => !graph.isReadOutside(tensor, namesOf(candidate)),
  );
  return region ? named(graph, region, tensor) : null;
}

/** The function that stands alone and starts with `node`, whoever else reads its input; null when it starts none. */
export function functionFrom(
  graph: Graph,
  node: GraphNode,
  accepts: (node: GraphNode) => boolean = () => true,
): FunctionRegion | null {
  const inputs = new Set(graph.dataInputs(node));
  const [root] = inputs;
  if (root === undefined || inputs.size > 1) return null;
  const wide = closure(
    graph,
    root,
    (other) => (isFunctionNode(graph, other) || isReduction(other.op, other.domain)) && accepts(other),
  );
  for (const region of regions(graph, root, wide)) {
    if (!region.includes(node)) continue;
    if (!region.some((other) => isReduction(other.op, other.domain))) return named(graph, region, root);
    const name = normalizationName(graph, region, root);
    if (name !== null) return { nodes: region, output: region.at(-1)!.outputs[0]!, name, normalizes: true };
  }
  return null;
}

const named = (graph: Graph, nodes: GraphNode[], root: string): FunctionRegion => ({
  nodes,
  output: nodes.at(-1)!.outputs[0]!,
  name: functionName(graph, nodes, root),
  normalizes: false,
});

/** All nodes, up to a limit, that compute from a tensor and constants alone, in graph order. */
function closure(graph: Graph, root: string, accepts: (node: GraphNode) => boolean): GraphNode[] {
  const nodes: GraphNode[] = [];
  const values = new Set([root]);
  const pending = new Set(graph.readers(root).map(({ node }) => node));
  while (pending.size > 0 && nodes.length < MOST_NODES) {
    // In graph order whatever a node of the closure reads has been looked at before it.
    const next = [...pending].reduce((a, b) => (graph.position(a) < graph.position(b) ? a : b));
    pending.delete(next);
    if (!accepts(next) || !graph.dataInputs(next).every((input) => values.has(input))) continue;
    nodes.push(next);
    values.add(next.outputs[0]!);
    for (const { node } of graph.readers(next.outputs[0]!)) pending.add(node);
  }
  return nodes;
}

/**
 * The parts of a closure that have one result: a node with everything before it, when nothing outside reads a step in
 * between. Largest first.
 */
function regions(graph: Graph, root: string, nodes: readonly GraphNode[]): GraphNode[][] {
  return nodes
    .map((last) => withAncestors(graph, nodes, last))
    .filter((region) => {
      const names = namesOf(region);
      const inner = region.slice(0, -1);
      return (
        inner.every((node) => !graph.isReadOutside(node.outputs[0]!, names)) &&
        sameShape(graph, root, region.at(-1)!.outputs[0]!)
      );
    })
    .sort((a, b) => b.length - a.length);
}

function withAncestors(graph: Graph, nodes: readonly GraphNode[], last: GraphNode): GraphNode[] {
  const needed = new Set([last]);
  for (const node of [...nodes].reverse()) {
    if (!needed.has(node)) continue;
    for (const input of graph.dataInputs(node)) {
      const producer = graph.producer(input);
      if (producer && nodes.includes(producer)) needed.add(producer);
    }
  }
  return nodes.filter((node) => needed.has(node));
}

const namesOf = (nodes: readonly GraphNode[]): Set<string> => new Set(nodes.map((node) => node.name));

/** A constant that is larger than the tensor spreads it out: no function of each element then. */
function sameShape(graph: Graph, a: string, b: string): boolean {
  const [first, second] = [graph.shape(a), graph.shape(b)];
  if (!first || !second) return true;
  return (
    first.length === second.length &&
    first.every((size, i) => size === null || second[i] === null || size === second[i])
  );
}

/** Element-wise nodes, and normalization by constants, with one float result. */
function isFunctionNode(graph: Graph, node: GraphNode): boolean {
  return (
    node.outputs.filter((output) => output !== '').length === 1 &&
    graph.isFloat(node.outputs[0]!) &&
    (isElementwise(node.op, node.domain) || isInferenceBatchNorm(graph, node))
  );
}
