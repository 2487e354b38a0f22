import type { Group, Plan } from '../../config/plan.js';
import type { Graph } from '../../graph/graph.js';

/** A layer normalization with a gain and an offset for each channel. */
export interface NormGain {
  /** Its nodes; the last one yields the result. */
  nodes: string[];
  last: string;
  input: string;
  output: string;
  gain: string;
  offset: string;
  axis: number;
  size: number;
}

/** Layer normalizations over the last axis, as one operator or written out, whose gain and offset are constants. */
export function normGains(graph: Graph, { groups }: Plan): NormGain[] {
  return groups.flatMap((group) => normGain(graph, group) ?? []);
}

function normGain(graph: Graph, { kind, nodes, inputs, output }: Group): NormGain | null {
  if (kind !== 'normalization') return null;
  const last = graph.node(nodes.at(-1)!)!;
  const rank = graph.shape(output)?.length;
  const [gain, offset] =
    last.op === 'LayerNormalization' ? last.inputs.slice(1, 3) : writtenOut(graph, nodes);
  const sizes = [gain, offset].map((tensor) => graph.constant(tensor)?.shape);
  const size = sizes[0]?.[0];
  const vectors = sizes.every((shape) => shape?.length === 1 && shape[0] === size);
  if (!vectors || size === undefined || size < 2 || rank === undefined) return null;
  if (Number(last.attributes.axis ?? -1) !== -1 && Number(last.attributes.axis) !== rank - 1) return null;
  const [input] = inputs;
  return {
    nodes,
    last: last.name,
    input: input!,
    output,
    gain: gain!,
    offset: offset!,
    axis: rank - 1,
    size,
  };
}

/** Gain and offset of a normalization that ends with a product and a sum. */
function writtenOut(graph: Graph, nodes: readonly string[]): (string | undefined)[] {
  const [product, sum] = nodes.slice(-2).map((name) => graph.node(name)!);
  if (product?.op !== 'Mul' || sum?.op !== 'Add' || !sum.inputs.includes(product.outputs[0]!)) return [];
  return [product, sum].map(({ inputs }) => inputs.find((input) => graph.isConstant(input)));
}
