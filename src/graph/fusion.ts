import type { GraphNode } from '../config/graph.js';
import type { Graph } from './graph.js';
import { isElementwise, operatorRole } from './operators.js';

/**
 * A function of one tensor that an NPU evaluates in one kernel: an activation in any spelling, a GELU, a layer
 * normalization written out.
 */
export interface UnaryRegion {
  nodes: GraphNode[];
  output: string;
  /** Usual name of the function ('Relu', 'SiLU', 'HardSwish', 'GELU', 'LayerNormalization', …). */
  name: string;
}

/** Longest spelling in use: GELU by tanh takes 9 nodes, LayerNormalization written out 9. */
const MOST_NODES = 12;

/**
 * The smallest set of element-wise nodes behind `tensor` that together compute one function of it.
 *
 * Nodes are taken in graph order as long as all they read is `tensor`, constants and each other; the set is complete
 * when everything outside reads a single one of its results. So x·σ(x), x·clip(x+3,0,6)/6, ½x(1+erf(x/√2)) and every
 * other spelling are found by what they are, not by a list of patterns.
 *
 * @param closed also ask that nothing outside reads `tensor` itself, which is what fusing behind a layer needs: a
 *   second reader would want the value that the kernel no longer writes
 */
export function unaryRegion(
  graph: Graph,
  tensor: string,
  closed: boolean,
  accepts: (node: GraphNode) => boolean = acceptsElementwise,
): UnaryRegion | null {
  const nodes: GraphNode[] = [];
  const inside = new Set<string>();
  const values = new Set([tensor]);
  for (let grown = true; grown && nodes.length < MOST_NODES; ) {
    grown = false;
    for (const node of readersOf(graph, values)) {
      if (inside.has(node.name) || !accepts(node)) continue;
      if (!graph.dataInputs(node).every((input) => values.has(input))) continue;
      nodes.push(node);
      inside.add(node.name);
      values.add(node.outputs[0]!);
      grown = true;
      const output = onlyResult(graph, tensor, nodes, inside, closed);
      if (output !== null) return { nodes, output, name: functionName(graph, nodes) };
      break;
    }
  }
  return null;
}

/** The one result that the outside reads, or null while there are none or several. */
function onlyResult(
  graph: Graph,
  tensor: string,
  nodes: readonly GraphNode[],
  inside: ReadonlySet<string>,
  closed: boolean,
): string | null {
  const readOutside = (value: string): boolean =>
    graph.isOutput(value) ||
    graph.captured.has(value) ||
    graph.readers(value).some(({ node }) => !inside.has(node.name));
  if (closed && readOutside(tensor)) return null;
  const results = nodes.map((node) => node.outputs[0]!).filter(readOutside);
  return results.length === 1 ? results[0]! : null;
}

/** Nodes that read any of the tensors, in graph order. */
function readersOf(graph: Graph, tensors: ReadonlySet<string>): GraphNode[] {
  const found = new Set([...tensors].flatMap((tensor) => graph.readers(tensor).map(({ node }) => node)));
  return [...found].sort((a, b) => graph.position(a) - graph.position(b));
}

/** Element-wise nodes with one float result. */
export const acceptsElementwise = (node: GraphNode): boolean =>
  isElementwise(node.op, node.domain) && node.outputs.length === 1;

/** Element-wise nodes and the averages that a normalization written out is made of. */
export const acceptsNormalization = (node: GraphNode): boolean =>
  acceptsElementwise(node) || (operatorRole(node.op, node.domain) === 'pool' && node.op === 'ReduceMean');

/** What the nodes of a region compute, by the operators in it. */
function functionName(graph: Graph, nodes: readonly GraphNode[]): string {
  const ops = new Set(nodes.map((node) => node.op));
  if (nodes.length === 1)
    return nodes[0]!.op === 'Clip' && isRelu6(graph, nodes[0]!) ? 'Relu6' : nodes[0]!.op;
  if (ops.has('ReduceMean')) return ops.has('Sqrt') || ops.has('Pow') ? 'LayerNormalization' : 'ReduceMean';
  if (ops.has('Erf')) return 'GELU';
  if (ops.has('Softplus') && ops.has('Tanh')) return 'Mish';
  if (ops.has('Tanh') && ops.has('Mul')) return 'GELU';
  if (ops.has('HardSigmoid') && ops.has('Mul')) return 'HardSwish';
  if ((ops.has('Clip') || ops.has('Relu') || ops.has('Min')) && ops.has('Add') && ops.has('Mul'))
    return 'HardSwish';
  if (ops.has('Sigmoid') && ops.has('Mul')) return 'SiLU';
  return nodes.map((node) => node.op).join('+');
}

function isRelu6(graph: Graph, clip: GraphNode): boolean {
  const low = graph.value(clip.inputs[1])?.[0] ?? clip.attributes.min;
  const high = graph.value(clip.inputs[2])?.[0] ?? clip.attributes.max;
  return low === 0 && high === 6;
}

/**
 * Behind a layer: constants that a device folds into scale and bias (Mul, Add, … with a constant), then one activation.
 * @returns the nodes taken, the tensor they end in and the activation's name, or null when nothing can be fused
 */
export function fuseBehind(graph: Graph, tensor: string): UnaryRegion | null {
  const nodes: GraphNode[] = [];
  let output = tensor;
  let name: string | null = null;
  for (;;) {
    const region = unaryRegion(graph, output, true);
    if (!region) break;
    nodes.push(...region.nodes);
    output = region.output;
    const affine = region.nodes.length === 1 && operatorRole(region.nodes[0]!.op, '') === 'arithmetic';
    if (!affine && region.nodes[0]!.op !== 'Div') {
      name = region.name;
      break;
    }
  }
  return nodes.length > 0 ? { nodes, output, name: name ?? nodes.map((node) => node.op).join('+') } : null;
}
