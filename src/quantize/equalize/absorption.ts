import type { GraphNode } from '../../config/graph.js';
import type { Graph } from '../../graph/graph.js';
import { absorbable } from '../algorithms/bias-absorption.js';
import type { ChannelStatistics } from '../algorithms/channel-scales.js';
import type { Layer } from '../layers.js';
import { type Channels, upperBound } from './commuting.js';
import type { Seen } from './problem.js';
import { layerOffset, sizesOf } from './scalable.js';
import { eachWeight } from './weights.js';

/** Offsets that a network can do without, and what they become elsewhere. */
export interface Absorption {
  /** What is added to constants, by name. */
  changes: Map<string, Float64Array>;
  /** Statistics of the tensors behind. */
  seen: Seen;
}

/** Where offsets are moved: a network's layers, and which channels of its tensors are the same. */
export interface Scene {
  graph: Graph;
  layers: readonly Layer[];
  channels: ReadonlyMap<string, Channels>;
}

/** What lies between a layer and the layers that can take its offset. */
interface Chain {
  tensors: string[];
  activation: 'none' | 'Relu';
  /** Upper bound of the values. */
  high: number;
  takers: Layer[];
}

/** Moves what channels carry always, and what says nothing, from the biases of layers into those of the next ones. */
export function absorbOffsets(scene: Scene, seen: Seen): Absorption {
  const { graph, layers } = scene;
  const changes = new Map<string, Float64Array>();
  const statistics = new Map(seen);
  const add = (constant: string, values: Float64Array): void => {
    changes.set(
      constant,
      values.map((value, c) => value + (changes.get(constant)?.[c] ?? 0)),
    );
  };
  for (const layer of layers) {
    const ranges = seen.get(layer.output);
    const own = ownOffset(graph, layer);
    const chain = ranges && own ? chainBehind(scene, layer) : null;
    if (!ranges || !own || !chain) continue;
    const offsets = absorbable(ranges, chain.activation, chain.high);
    if (offsets.every((offset) => offset === 0)) continue;
    add(
      own,
      offsets.map((offset) => -offset),
    );
    for (const tensor of chain.tensors) {
      const before = statistics.get(tensor);
      if (before?.min.length === offsets.length) statistics.set(tensor, without(before, offsets));
    }
    for (const taker of chain.takers) {
      const values = new Float64Array(
        sizesOf(graph.node(taker.name)!, taker.shape, taker.plan.groups).outputs,
      );
      eachWeight(graph, taker, (index, output, input) => {
        values[output]! += taker.weight[index]! * offsets[input]!;
      });
      add(ownOffset(graph, taker)!, values);
    }
  }
  return { changes, seen: statistics };
}

/** Results of the layers whose offset could move on, before any number is known. */
export function mayAbsorb(scene: Scene): string[] {
  return scene.layers
    .filter((layer) => ownOffset(scene.graph, layer) !== null && chainBehind(scene, layer) !== null)
    .map(({ output }) => output);
}

/** The constant that holds a layer's offset, when it serves nothing else and is added as it is. */
function ownOffset(graph: Graph, layer: Layer): string | null {
  const offset = layerOffset(graph, layer);
  const scaled = layer.attributes !== null;
  return offset !== null && !scaled && graph.readers(offset).length === 1 ? offset : null;
}

/** Operators that hand on an offset of every value as it is, where nothing is filled in. */
const MOVERS: ReadonlySet<string> = new Set([
  ...['Identity', 'Dropout', 'MaxPool', 'GlobalMaxPool', 'GlobalAveragePool', 'ReduceMean', 'ReduceMax'],
  ...['Flatten', 'Reshape', 'Squeeze', 'Unsqueeze', 'Transpose'],
]);

function chainBehind({ graph, layers, channels }: Scene, layer: Layer): Chain | null {
  const made = channels.get(layer.output)?.numbers;
  if (!made) return null;
  const chain: Chain = { tensors: [], activation: 'none', high: Infinity, takers: [] };
  const byName = new Map(layers.map((each) => [each.name, each]));
  const follow = (tensor: string): boolean => {
    const numbers = channels.get(tensor)?.numbers;
    const same = numbers?.length === made.length && numbers.every((number, c) => number === made[c]);
    if (!same || graph.isOutput(tensor) || graph.capturers(tensor).length > 0) return false;
    chain.tensors.push(tensor);
    const readers = graph.readers(tensor);
    return readers.length > 0 && readers.every(({ node }) => through(node, tensor));
  };
  const through = (node: GraphNode, tensor: string): boolean => {
    const taker = byName.get(node.name);
    if (taker) {
      chain.takers.push(taker);
      return taker.input === tensor && takes(graph, node, taker);
    }
    if (node.op === 'Relu' || node.op === 'Clip') {
      // Of what a Relu computes from a shifted value, another reader would need the original.
      if (graph.soleReader(tensor) !== node || tensor !== layer.output) return false;
      if (node.op === 'Clip' && graph.value(node.inputs[1] || undefined)?.[0] !== 0) return false;
      chain.activation = 'Relu';
      chain.high = node.op === 'Clip' ? (upperBound(graph, node) ?? 0) : Infinity;
      return follow(node.outputs[0]!);
    }
    return MOVERS.has(node.op) && node.outputs.length === 1 && follow(node.outputs[0]!);
  };
  return follow(layer.output) ? chain : null;
}

/** Whether a layer can take an offset of its input: it adds a bias, and fills no zeros in at the border. */
function takes(graph: Graph, node: GraphNode, layer: Layer): boolean {
  const padded = ((node.attributes.pads as number[] | undefined) ?? []).some((pad) => pad !== 0);
  const automatic = !['NOTSET', 'VALID'].includes(String(node.attributes.auto_pad ?? 'NOTSET'));
  return (
    layer.weightIndex === 1 &&
    layer.shape.length >= 2 &&
    node.op !== 'ConvTranspose' &&
    !padded &&
    !automatic &&
    ownOffset(graph, layer) !== null
  );
}

/** Statistics of values less an offset a channel. */
function without(
  { min, max, meanSquare, mean }: ChannelStatistics,
  offsets: Float64Array,
): ChannelStatistics {
  return {
    min: min.map((value, c) => value - offsets[c]!),
    max: max.map((value, c) => value - offsets[c]!),
    meanSquare: meanSquare.map((value, c) =>
      Math.max(0, value - 2 * offsets[c]! * mean[c]! + offsets[c]! ** 2),
    ),
    mean: mean.map((value, c) => value - offsets[c]!),
  };
}
