import type { GraphNode } from '../config/graph.js';
import type { Graph } from './graph.js';

/** Layers that can take a batch normalization in; MatMul has no bias to hold it. */
const FOLDS_INTO = new Set(['Conv', 'ConvTranspose', 'Gemm']);

/**
 * The BatchNormalization that disappears into a layer: it alone reads the layer, all its parameters are constants, it
 * runs in inference form, and the layer's weight and bias are constants too.
 */
export function foldableBatchNorm(graph: Graph, layer: GraphNode): GraphNode | null {
  if (!FOLDS_INTO.has(layer.op)) return null;
  const next = graph.soleReader(layer.outputs[0]!);
  if (next?.op !== 'BatchNormalization' || next.outputs.filter((output) => output !== '').length > 1)
    return null;
  if (Number(next.attributes.training_mode ?? 0) !== 0) return null;
  const constants = [layer.inputs[1], layer.inputs[2] || undefined, ...next.inputs.slice(1, 5)];
  const usable = constants.every(
    (tensor) => tensor === undefined || graph.constant(tensor)?.dtype === 'float32',
  );
  return usable && next.inputs[0] === layer.outputs[0] ? next : null;
}
