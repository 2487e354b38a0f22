import type { Graph } from '../../graph/graph.js';
import type { Layer } from '../layers.js';
import { sizesOf } from './scalable.js';

/** One weight of a layer: its place in the stored tensor, and the channels that it joins. */
export type Visit = (index: number, output: number, input: number) => void;

/** Calls `visit` for every weight of a layer, in stored order. */
export function eachWeight(graph: Graph, { name, shape, plan }: Layer, visit: Visit): void {
  const node = graph.node(name)!;
  const [first, second] = shape as [number, number];
  const taps = shape.slice(2).reduce((a, b) => a * b, 1);
  const outputsFirst =
    node.op === 'Conv' || (node.op === 'Gemm' && Number(node.attributes.transB ?? 0) !== 0);
  const perGroup = first / plan.groups;
  for (let a = 0, index = 0; a < first; a++) {
    const offset = Math.floor(a / perGroup) * second;
    for (let b = offset; b < offset + second; b++) {
      for (let tap = 0; tap < taps; tap++) visit(index++, outputsFirst ? a : b, outputsFirst ? b : a);
    }
  }
}

/** How a layer's folded weights join its channels. */
export interface WeightTable {
  outputs: number;
  /** Input channels of a group. */
  columns: number;
  groups: number;
  taps: number;
  /** Largest |W| and sum of W² over the taps, by [output, input of its group]. */
  largest: Float32Array;
  squares: Float64Array;
}

export function weightTable(graph: Graph, layer: Layer): WeightTable {
  const { groups } = layer.plan;
  const { outputs, inputs } = sizesOf(graph.node(layer.name)!, layer.shape, groups);
  const columns = inputs / groups;
  const largest = new Float32Array(outputs * columns);
  const squares = new Float64Array(outputs * columns);
  eachWeight(graph, layer, (index, output, input) => {
    const at = output * columns + (input % columns);
    const weight = Math.abs(layer.weight[index]!);
    largest[at] = Math.max(largest[at]!, weight);
    squares[at]! += weight * weight;
  });
  const taps = layer.shape.slice(2).reduce((a, b) => a * b, 1);
  return { outputs, columns, groups, taps, largest, squares };
}
