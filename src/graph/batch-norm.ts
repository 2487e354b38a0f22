import type { GraphNode } from '../config/graph.js';
import type { Graph } from './graph.js';

/** Layers that can take a batch normalization in; MatMul has no bias to hold it. */
const FOLDS_INTO: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm']);

/** Whether a node is a BatchNormalization in inference form with constant parameters: a gain and an offset a channel. */
export function isInferenceBatchNorm(graph: Graph, node: GraphNode): boolean {
  return (
    node.op === 'BatchNormalization' &&
    node.domain === '' &&
    Number(node.attributes.training_mode ?? 0) === 0 &&
    node.outputs.filter((output) => output !== '').length === 1 &&
    node.inputs.slice(1, 5).every((tensor) => graph.constant(tensor)?.dtype === 'float32')
  );
}

/**
 * The BatchNormalization that disappears into a layer: it alone reads the layer, its parameters are constants, it runs
 * in inference form, and the layer's weight and bias are constants too.
 */
export function foldableBatchNorm(graph: Graph, layer: GraphNode): GraphNode | null {
  if (!FOLDS_INTO.has(layer.op)) return null;
  const next = graph.soleReader(layer.outputs[0]!);
  if (!next || !isInferenceBatchNorm(graph, next) || next.inputs[0] !== layer.outputs[0]) return null;
  if (graph.constant(layer.inputs[1])?.dtype !== 'float32') return null;
  const channels = graph.constant(next.inputs[1])!.shape[0];
  return holdsBias(graph, layer, channels) ? next : null;
}

/** Whether the layer has no bias yet, or a constant one with a value for each channel or one for all. */
function holdsBias(graph: Graph, layer: GraphNode, channels: number | undefined): boolean {
  if (!layer.inputs[2]) return true;
  const bias = graph.constant(layer.inputs[2]);
  const size = bias?.shape.reduce((a, b) => a * b, 1);
  return bias?.dtype === 'float32' && (size === channels || size === 1);
}

/**
 * The Add that gives a MatMul its bias: it alone reads the product, and adds a constant with one value for each column.
 */
export function biasAdd(graph: Graph, layer: GraphNode): GraphNode | null {
  if (layer.op !== 'MatMul') return null;
  const columns = graph.constant(layer.inputs[1])?.shape.at(-1);
  const next = graph.soleReader(layer.outputs[0]!);
  if (next?.op !== 'Add' || columns === undefined) return null;
  const bias = next.inputs.map((input) => graph.constant(input)).find((constant) => constant !== undefined);
  const fits = bias?.dtype === 'float32' && bias.shape.at(-1) === columns;
  return fits && bias.shape.slice(0, -1).every((size) => size === 1) ? next : null;
}
