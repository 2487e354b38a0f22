import type { GraphNode } from '../config/graph.js';
import type { Group } from '../config/plan.js';
import { foldableBatchNorm } from './batch-norm.js';
import { type FunctionRegion, functionFrom, fuseBehind } from './fusion.js';
import type { Graph } from './graph.js';
import { isElementwise, isReduction, operatorRole } from './operators.js';
import { isPassThrough, maxPoolBehindPad } from './pass-through.js';

/** Nodes of a group to be, before it is written down. */
interface Draft {
  kind: string;
  nodes: GraphNode[];
  activation: string | null;
}

/**
 * Gathers nodes into what an NPU runs as one kernel: a layer with its batch normalization, bias and activation; a sum
 * with its activation; a function of one tensor, however it is spelled; everything else alone. Every node is in exactly
 * one group; groups are in graph order of their first nodes, which have the names of the groups.
 *
 * @param isApart nodes that nothing is fused with (postprocessing, shapes, unknown operators)
 * @param fuse false leaves functions of several operators in pieces
 */
export function groupNodes(graph: Graph, isApart: (node: GraphNode) => boolean, fuse = true): Group[] {
  const taken = new Set<string>();
  const isFree = (node: GraphNode): boolean => !taken.has(node.name) && !isApart(node);
  const groups: Group[] = [];
  for (const node of graph.nodes) {
    if (taken.has(node.name)) continue;
    const draft = isApart(node) ? alone(graph, node) : draftFrom(graph, node, isFree, fuse);
    for (const member of draft.nodes) taken.add(member.name);
    groups.push(asGroup(graph, draft));
  }
  return groups;
}

function draftFrom(
  graph: Graph,
  node: GraphNode,
  isFree: (node: GraphNode) => boolean,
  fuse: boolean,
): Draft {
  const role = operatorRole(node.op, node.domain);
  if (role === 'weighted') {
    const batchNorm = foldableBatchNorm(graph, node);
    return withFunction(graph, batchNorm ? [node, batchNorm] : [node], isFree, fuse);
  }
  if (role === 'arithmetic' && joinsTensors(graph, node)) return withFunction(graph, [node], isFree, fuse);
  const region =
    isElementwise(node.op, node.domain) ||
    isReduction(node.op, node.domain) ||
    node.op === 'BatchNormalization'
      ? functionFrom(graph, node, isFree)
      : null;
  if (region && isWhole(region, fuse)) {
    const kind = region.normalizes ? 'normalization' : 'activation';
    return { kind, nodes: region.nodes, activation: region.name };
  }
  const pool = maxPoolBehindPad(graph, node);
  return pool && isFree(pool)
    ? { kind: 'pass-through', nodes: [node, pool], activation: null }
    : alone(graph, node);
}

/** A layer or sum with what can be fused behind it. */
function withFunction(
  graph: Graph,
  nodes: GraphNode[],
  isFree: (node: GraphNode) => boolean,
  fuse: boolean,
): Draft {
  const found = fuseBehind(graph, nodes.at(-1)!.outputs[0]!, isFree);
  const region = found && isWhole(found, fuse) ? found : null;
  return {
    kind: kindOf(graph, nodes[0]!),
    nodes: [...nodes, ...(region?.nodes ?? [])],
    activation: region?.name ?? null,
  };
}

/** Whether a function is one unit: always, or only when it is a single operator. */
const isWhole = ({ nodes }: FunctionRegion, fuse: boolean): boolean => fuse || nodes.length === 1;

const alone = (graph: Graph, node: GraphNode): Draft => ({
  kind: kindOf(graph, node),
  nodes: [node],
  activation: null,
});

function kindOf(graph: Graph, node: GraphNode): string {
  const role = operatorRole(node.op, node.domain);
  if (role === undefined) return 'unknown';
  if (role === 'weighted') return node.op.toLowerCase();
  if (role === 'arithmetic') {
    if (!joinsTensors(graph, node)) return 'elementwise';
    return node.op === 'Sum' ? 'add' : node.op.toLowerCase();
  }
  if (role === 'pass-through' || role === 'resample') {
    if (isPassThrough(graph, node)) return 'pass-through';
    return role === 'resample' ? role : 'pad';
  }
  return role;
}

const joinsTensors = (graph: Graph, node: GraphNode): boolean => new Set(graph.dataInputs(node)).size > 1;

function asGroup(graph: Graph, { kind, nodes, activation }: Draft): Group {
  const inside = new Set<string>();
  const inputs = new Set<string>();
  // In graph order, so that whatever comes from inside is known before it is read.
  for (const node of nodes) {
    for (const input of graph.dataInputs(node)) if (!inside.has(input)) inputs.add(input);
    for (const output of node.outputs) inside.add(output);
  }
  return {
    name: nodes[0]!.name,
    kind,
    nodes: nodes.map((node) => node.name),
    inputs: [...inputs],
    output: nodes.at(-1)!.outputs.find((name) => name !== '') ?? '',
    quantized: false,
    activation,
  };
}
