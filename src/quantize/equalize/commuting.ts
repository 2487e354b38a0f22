import type { GraphNode } from '../../config/graph.js';
import type { Graph } from '../../graph/graph.js';
import { isPassThrough } from '../../graph/pass-through.js';
import type { ChannelSets } from './channel-sets.js';

/** The channels of a tensor: the axis they lie along, and each one's number in `ChannelSets`. */
export interface Channels {
  axis: number;
  numbers: Int32Array;
}

/** What is known when a node is looked at. */
export interface Scene {
  graph: Graph;
  sets: ChannelSets;
  /** Of tensors that may be scaled; a tensor that is not here keeps its scale. */
  known: ReadonlyMap<string, Channels>;
}

type Rule = (node: GraphNode, scene: Scene) => Channels[] | null;

/** f(s·x) = s·f(x) for every s > 0, with the channels where they were. */
const unchanged: Rule = (node, { graph, known }) => {
  const channels = known.get(node.inputs[0]!);
  const before = graph.shape(node.inputs[0]!);
  const after = graph.shape(node.outputs[0]!);
  if (!channels || !before || !after || before.length !== after.length) return null;
  return before[channels.axis] === after[channels.axis] ? [channels] : null;
};

/** A clip from zero or from nowhere commutes below its upper bound; see `boundsOf`. */
const clip: Rule = (node, scene) => {
  const low = node.inputs[1] ? scene.graph.value(node.inputs[1])?.[0] : -Infinity;
  const high = upperBound(scene.graph, node);
  const open = (low === 0 || low === -Infinity) && high !== undefined && high > 0;
  return open ? unchanged(node, scene) : null;
};

/** Upper bound of a Clip; undefined where it is computed. */
export function upperBound(graph: Graph, clip: GraphNode): number | undefined {
  return clip.inputs[2] ? graph.value(clip.inputs[2])?.[0] : Infinity;
}

/** A sum scales when all that it adds takes the same scale. */
const sum: Rule = (node, { graph, sets, known }) => {
  const shape = graph.shape(node.outputs[0]!);
  const all = node.inputs.map((input) => known.get(input));
  const [first] = all;
  if (!first || !shape) return null;
  const alike = node.inputs.every((input, index) => {
    const size = graph.shape(input);
    return (
      all[index]?.axis === first.axis && size?.length === shape.length && shape.every((n, i) => n === size[i])
    );
  });
  if (!alike) return null;
  for (const channels of all) sets.tie(first.numbers, channels!.numbers);
  return [first];
};

/** A product takes the scale of one factor when the other, a gate or a constant, keeps its own. */
const product: Rule = (node, { graph, known }) => {
  const scaled = node.inputs.filter((input) => known.has(input));
  if (scaled.length !== 1 || (node.op === 'Div' && scaled[0] !== node.inputs[0])) return null;
  const channels = known.get(scaled[0]!)!;
  const [before, after] = [graph.shape(scaled[0]!), graph.shape(node.outputs[0]!)];
  const sameRank = before?.length === after?.length && before?.[channels.axis] === after?.[channels.axis];
  return before && sameRank ? [channels] : null;
};

const concat: Rule = (node, { graph, sets, known }) => {
  const rank = graph.shape(node.outputs[0]!)?.length ?? 0;
  const along = axisOf(Number(node.attributes.axis ?? 0), rank);
  const first = node.inputs.map((input) => known.get(input)).find((channels) => channels !== undefined);
  if (!first || rank === 0) return null;
  const parts = node.inputs.map((input) => {
    const channels = known.get(input);
    if (channels) return channels.axis === first.axis ? channels.numbers : null;
    const size = graph.shape(input)?.[first.axis];
    return size == null ? null : new Int32Array(size);
  });
  if (parts.some((part) => part === null)) return null;
  const whole = parts as Int32Array[];
  if (along === first.axis)
    return [{ axis: along, numbers: Int32Array.from(whole.flatMap((part) => [...part])) }];
  if (whole.some((part) => part.length !== whole[0]!.length)) return null;
  for (const part of whole) sets.tie(whole[0]!, part);
  return [{ axis: first.axis, numbers: whole[0]! }];
};

/** [N, C, …] to [N, C·…] and back to [N, C, 1, …]: each channel becomes as many columns as it has positions. */
const reshape: Rule = (node, { graph, known }) => {
  const channels = known.get(node.inputs[0]!);
  const before = graph.shape(node.inputs[0]!);
  const after = graph.shape(node.outputs[0]!);
  if (channels?.axis !== 1 || !before || !after || after.length < 2) return null;
  const positions = before.slice(2).reduce<number>((size, n) => size * (n ?? Number.NaN), 1);
  const { numbers } = channels;
  const columns = numbers.length * positions;
  if (after[1] !== columns || after.slice(2).some((n) => n !== 1)) return null;
  return [
    { axis: 1, numbers: Int32Array.from({ length: columns }, (_, i) => numbers[Math.floor(i / positions)]!) },
  ];
};

const reduce: Rule = (node, { graph, known }) => {
  const channels = known.get(node.inputs[0]!);
  const rank = graph.shape(node.inputs[0]!)?.length;
  const listed = node.inputs[1]
    ? graph.value(node.inputs[1])
    : (node.attributes.axes as number[] | undefined);
  if (!channels || rank === undefined || !listed || listed.length === 0) return null;
  return listed.every((axis) => axisOf(axis, rank) > channels.axis) ? [channels] : null;
};

const transpose: Rule = (node, { known }) => {
  const channels = known.get(node.inputs[0]!);
  const order = node.attributes.perm as number[] | undefined;
  return channels && order ? [{ ...channels, axis: order.indexOf(channels.axis) }] : null;
};

const split: Rule = (node, { graph, known }) => {
  const channels = known.get(node.inputs[0]!);
  const rank = graph.shape(node.inputs[0]!)?.length ?? 0;
  if (!channels) return null;
  if (axisOf(Number(node.attributes.axis ?? 0), rank) !== channels.axis)
    return node.outputs.map(() => channels);
  let start = 0;
  const parts = node.outputs.map((output) => {
    const size = graph.shape(output)?.[channels.axis] ?? Number.NaN;
    const numbers = channels.numbers.slice(start, start + size);
    start += size;
    return { axis: channels.axis, numbers };
  });
  return start === channels.numbers.length ? parts : null;
};

const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

const RULES: Readonly<Record<string, Rule>> = {
  ...Object.fromEntries(
    ['Relu', 'LeakyRelu', 'Identity', 'Dropout', 'AveragePool', 'GlobalAveragePool', 'GlobalMaxPool'].map(
      (op) => [op, unchanged],
    ),
  ),
  MaxPool: (node, scene) => (node.outputs.length === 1 ? unchanged(node, scene) : null),
  PRelu: (node, scene) => (scene.graph.isConstant(node.inputs[1]!) ? unchanged(node, scene) : null),
  Pad: (node, scene) => (isPassThrough(scene.graph, node) ? unchanged(node, scene) : null),
  Resize: unchanged,
  Upsample: unchanged,
  Clip: clip,
  Add: sum,
  Sub: sum,
  Sum: sum,
  Mul: product,
  Div: product,
  Concat: concat,
  Flatten: reshape,
  Reshape: reshape,
  Squeeze: reshape,
  Unsqueeze: reshape,
  ReduceMean: reduce,
  ReduceMax: reduce,
  Transpose: transpose,
  Split: split,
};

/** The channels of a node's results when it commutes with positive scales a channel of what it reads; null if not. */
export function commuted(node: GraphNode, scene: Scene): Channels[] | null {
  const rule = node.domain === '' ? RULES[node.op] : undefined;
  return rule?.(node, scene) ?? null;
}
