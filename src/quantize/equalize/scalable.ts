import type { GraphNode } from '../../config/graph.js';
import type { Plan } from '../../config/plan.js';
import type { Graph } from '../../graph/graph.js';
import type { Layer } from '../layers.js';
import { ChannelSets } from './channel-sets.js';
import { type Channels, commuted, upperBound } from './commuting.js';
import { type NormGain, normGains } from './norm-gains.js';

/** An upper bound that a Clip sets to the channels of the tensor that it reads. */
export interface Bound {
  tensor: string;
  high: number;
}

/** Which channels of which tensors take one scale, in a network whose layers undo it. */
export interface Scalable {
  sets: ChannelSets;
  /** Channels of the tensors that may be scaled. */
  channels: ReadonlyMap<string, Channels>;
  bounds: Bound[];
  /** Normalizations whose gain and offset can take a scale. */
  norms: NormGain[];
}

/**
 * Follows scales a channel from the layers that can make them to those that can undo them. A layer divides its output
 * channels through its weights or its batch normalization, and multiplies its input channels; so does the gain of a
 * layer normalization. Between them only what commutes with positive scales may stand; at anything else, at the
 * network's ends, and where constants serve elsewhere too, scales are 1.
 *
 * @param withNorms whether gains of normalizations may change
 */
export function scalableChannels(
  graph: Graph,
  plan: Plan,
  layers: readonly Layer[],
  withNorms: boolean,
): Scalable {
  const sets = new ChannelSets();
  const channels = new Map<string, Channels>();
  const bounds: Bound[] = [];
  const scene = { graph, sets, known: channels };
  const norms = withNorms ? normGains(graph, plan) : [];
  const layerOf = new Map(layers.map((layer) => [layer.name, layer]));
  const normOf = new Map(norms.map((norm) => [norm.last, norm]));
  const inside = new Set([
    ...layers.flatMap(({ batchNorm, bias }) =>
      [batchNorm?.name, bias?.node].filter((name) => name !== undefined),
    ),
    ...norms.flatMap(({ nodes }) => nodes),
  ]);

  const fix = (tensor: string): void => {
    const found = channels.get(tensor);
    if (found) sets.fix(found.numbers);
  };
  const visit = (node: GraphNode): void => {
    const layer = layerOf.get(node.name);
    if (layer) {
      const { inputs, outputs } = layerChannels(graph, node, layer);
      for (const input of node.inputs) if (input !== layer.input) fix(input);
      const read = channels.get(layer.input);
      if (read && (read.axis !== inputs?.axis || read.numbers.length !== inputs.count)) fix(layer.input);
      if (outputs) channels.set(layer.output, { axis: outputs.axis, numbers: sets.fresh(outputs.count) });
      return;
    }
    const norm = normOf.get(node.name);
    if (norm) channels.set(norm.output, { axis: norm.axis, numbers: sets.fresh(norm.size) });
    if (inside.has(node.name)) {
      if (norm) fix(norm.input);
      return;
    }
    if (!node.inputs.some((input) => channels.has(input))) return;
    const results = commuted(node, scene);
    if (!results) {
      node.inputs.forEach(fix);
      return;
    }
    for (const [index, found] of results.entries()) channels.set(node.outputs[index]!, found);
    const high = node.op === 'Clip' ? upperBound(graph, node) : undefined;
    if (high !== undefined && Number.isFinite(high)) bounds.push({ tensor: node.inputs[0]!, high });
  };
  graph.nodes.forEach(visit);
  for (const tensor of channels.keys()) {
    if (graph.isOutput(tensor) || graph.capturers(tensor).length > 0) fix(tensor);
  }
  tieShared(graph, layers, norms, channels, sets);
  return { sets, channels, bounds, norms };
}

/** Axis and number of a layer's input and output channels, where its weights can take scales for them. */
function layerChannels(graph: Graph, node: GraphNode, layer: Layer) {
  const { shape, weightIndex, plan } = layer;
  const rank = graph.shape(layer.input)?.length;
  const none = { inputs: null, outputs: null };
  if (weightIndex !== 1 || rank === undefined || shape.length < 2) return none;
  const matrix = node.op === 'MatMul' || node.op === 'Gemm';
  if (matrix && (shape.length !== 2 || Number(node.attributes.transA ?? 0))) return none;
  const { outputs, inputs } = sizesOf(node, shape, plan.groups);
  const axis = matrix ? rank - 1 : 1;
  // A bias that is no constant, or one value for all channels, cannot follow.
  const bias = layer.bias ? graph.constant(layerOffset(graph, layer) ?? undefined) : undefined;
  const fits = layer.bias
    ? bias === undefined || bias.shape.reduce((a, b) => a * b, 1) === outputs
    : !node.inputs[2];
  return { inputs: { axis, count: inputs }, outputs: fits ? { axis, count: outputs } : null };
}

/** Output and input channels of a layer by its stored weight. */
export function sizesOf(node: GraphNode, shape: readonly number[], groups: number) {
  const [first, second] = shape as [number, number];
  if (node.op === 'Conv') return { outputs: first, inputs: second * groups };
  if (node.op === 'ConvTranspose') return { outputs: second * groups, inputs: first };
  return Number(node.attributes.transB ?? 0)
    ? { outputs: first, inputs: second }
    : { outputs: second, inputs: first };
}

/** The constant that is added to a layer's output channels: of its batch normalization, or its bias; null for none. */
export function layerOffset(graph: Graph, { batchNorm, bias }: Layer): string | null {
  if (batchNorm) return batchNorm.inputs[2]!;
  return (bias && graph.node(bias.node)!.inputs[bias.index]) || null;
}

/** What of a layer's constants scales with its input channels, and what with its output channels. */
function parametersOf(graph: Graph, layer: Layer): { weight: string; outputs: string[] } {
  const offset = layerOffset(graph, layer);
  const gain = layer.batchNorm ? [layer.batchNorm.inputs[1]!] : [];
  return { weight: layer.plan.tensor, outputs: [...gain, ...(offset ? [offset] : [])] };
}

/** Layers that share a constant take the same scales; where something else reads it, too, or in another role, none. */
function tieShared(
  graph: Graph,
  layers: readonly Layer[],
  norms: readonly NormGain[],
  channels: ReadonlyMap<string, Channels>,
  sets: ChannelSets,
): void {
  type User = { inputs: Int32Array | null; outputs: Int32Array | null };
  const users = new Map<string, User[]>();
  const use = (tensor: string, user: User): void => {
    users.set(tensor, [...(users.get(tensor) ?? []), user]);
  };
  for (const layer of layers) {
    const { weight, outputs } = parametersOf(graph, layer);
    const made = channels.get(layer.output)?.numbers ?? null;
    const read = channels.get(layer.input)?.numbers ?? null;
    use(weight, { inputs: read, outputs: layer.batchNorm ? null : made });
    for (const tensor of outputs) use(tensor, { inputs: null, outputs: made });
  }
  for (const { gain, offset, output } of norms) {
    for (const tensor of [gain, offset])
      use(tensor, { inputs: null, outputs: channels.get(output)!.numbers });
  }
  for (const [tensor, list] of users) {
    if (graph.readers(tensor).length === 1 && list.length === 1 && graph.capturers(tensor).length === 0)
      continue;
    const strangers = graph.readers(tensor).length !== list.length || graph.capturers(tensor).length > 0;
    for (const side of ['inputs', 'outputs'] as const) {
      const numbers = list.map((user) => user[side]).filter((found) => found !== null);
      const [first] = numbers;
      if (!first) continue;
      const unlike =
        strangers || numbers.length < list.length || numbers.some(({ length }) => length !== first.length);
      for (const other of numbers) unlike ? sets.fix(other) : sets.tie(first, other);
    }
  }
}
