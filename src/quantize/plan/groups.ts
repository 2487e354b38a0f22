import type { GraphNode } from '../../config/graph.js';
import type { Group } from '../../config/plan.js';
import { foldableBatchNorm } from '../../graph/batch-norm.js';
import { acceptsNormalization, fuseBehind, unaryRegion } from '../../graph/fusion.js';
import type { Graph } from '../../graph/graph.js';
import { isElementwise, operatorRole } from '../../graph/operators.js';
import { isPassThrough } from './pass-through.js';

export interface Grouping {
  /** Every node is in exactly one group, in graph order of their first nodes. */
  groups: Group[];
  folds: { into: string; batchNorm: string }[];
}

/**
 * Gathers nodes into what an NPU runs as one kernel: a layer with its batch normalization, bias and activation; a sum
 * with its activation; a function of one tensor, however it is spelled; everything else alone.
 *
 * @param isFloat names of nodes that stay float whatever happens (postprocessing, excluded, shapes): nothing is fused
 *   with them and no batch normalization folded into them
 */
export function groupNodes(graph: Graph, isFloat: (node: GraphNode) => boolean): Grouping {
  const taken = new Set<string>();
  const groups: Group[] = [];
  const folds: Grouping['folds'] = [];

  const add = (kind: string, nodes: GraphNode[], output: string, activation: string | null): void => {
    for (const node of nodes) taken.add(node.name);
    const names = new Set(nodes.map((node) => node.name));
    const inputs = nodes
      .flatMap((node) => graph.dataInputs(node))
      .filter((input) => !names.has(graph.producer(input)?.name ?? ''));
    const name = nodes[0]!.name;
    groups.push({
      name,
      kind,
      nodes: nodes.map((node) => node.name),
      inputs: [...new Set(inputs)],
      output,
      quantized: false,
      activation,
    });
  };

  for (const node of graph.nodes) {
    if (taken.has(node.name)) continue;
    const role = operatorRole(node.op, node.domain);
    const output = node.outputs.find((name) => name !== '') ?? '';
    if (isFloat(node)) {
      add(role ?? 'unknown', [node], output, null);
    } else if (role === 'weighted') {
      const nodes = [node];
      const batchNorm = foldableBatchNorm(graph, node);
      if (batchNorm && !isFloat(batchNorm)) {
        nodes.push(batchNorm);
        folds.push({ into: node.name, batchNorm: batchNorm.name });
      }
      const end = fuse(graph, nodes, isFloat);
      add(node.op.toLowerCase(), nodes, end.output, end.activation);
    } else if (role === 'arithmetic' && graph.dataInputs(node).length === 2) {
      const nodes = [node];
      const end = fuse(graph, nodes, isFloat);
      add(node.op.toLowerCase(), nodes, end.output, end.activation);
    } else if (isElementwise(node.op, node.domain) || node.op === 'ReduceMean') {
      const region = standaloneRegion(graph, node, isFloat, taken);
      if (region) add('activation', region.nodes, region.output, region.name);
      else add(role === 'pool' ? 'pool' : 'elementwise', [node], output, null);
    } else {
      add(isPassThrough(graph, node) ? 'pass-through' : (role ?? 'unknown'), [node], output, null);
    }
  }
  return { groups, folds };
}

/** Appends what can be fused behind the last of `nodes`. */
function fuse(
  graph: Graph,
  nodes: GraphNode[],
  isFloat: (node: GraphNode) => boolean,
): { output: string; activation: string | null } {
  const output = nodes.at(-1)!.outputs[0]!;
  const region = fuseBehind(graph, output);
  if (!region || region.nodes.some(isFloat)) return { output, activation: null };
  nodes.push(...region.nodes);
  return { output: region.output, activation: region.name };
}

/** A function of one tensor that stands alone, starting at `node`. */
function standaloneRegion(
  graph: Graph,
  node: GraphNode,
  isFloat: (node: GraphNode) => boolean,
  taken: ReadonlySet<string>,
): { nodes: GraphNode[]; output: string; name: string } | null {
  const inputs = graph.dataInputs(node);
  if (inputs.length !== 1) return null;
  const region = unaryRegion(
    graph,
    inputs[0]!,
    false,
    (other) => acceptsNormalization(other) && !taken.has(other.name) && !isFloat(other),
  );
  if (!region?.nodes.some((other) => other.name === node.name)) return null;
  // An average alone is a pooling operator; only inside a normalization is it part of a function.
  return region.nodes.length === 1 && node.op === 'ReduceMean' ? null : region;
}
