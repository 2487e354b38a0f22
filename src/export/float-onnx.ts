import type { Graph } from '../graph/graph.js';
import { EditList } from './edit-list.js';
import type { Exported, ExportSource } from './formats.js';
import { dequantize, type ExportLayer } from './layers.js';

/** Names that a layer's weight and bias have in the exported float network. */
export interface ParameterNames {
  weight: string;
  bias: string;
}

/**
 * The model's own names where only this layer reads them, since tools match by name; a weight that several layers share
 * is written once for each, because their scales differ.
 */
export function parameterNames(graph: Graph, { layer }: ExportLayer): ParameterNames {
  const own = (tensor: string | undefined): boolean =>
    tensor !== undefined && graph.isConstant(tensor) && graph.readers(tensor).length === 1;
  const bias = layer.bias ? graph.node(layer.bias.node)?.inputs[layer.bias.index] : undefined;
  return {
    weight: own(layer.plan.tensor) ? layer.plan.tensor : `${layer.name}/weight`,
    bias: own(bias) ? bias! : `${layer.name}/bias`,
  };
}

/**
 * The captured float network with batch normalization folded and every weight and bias exactly on its grid
 * (integer · scale), without any quantizer: the form that a device converter reads.
 */
export function floatOnnx({ run, network }: ExportSource): Exported {
  const edits = new EditList();
  for (const exported of network.layers) {
    edits.fold(exported.layer);
    writeOnGrid(edits, run.graph, exported);
  }
  return { kind: 'rewrite', model: run.float, edits, check: 'load', warnings: [] };
}

/** Replaces a layer's weight and bias by the float values that their integers stand for. */
export function writeOnGrid(edits: EditList, graph: Graph, exported: ExportLayer): void {
  const { layer, integers, scales, bias, floatBias } = exported;
  const names = parameterNames(graph, exported);
  const weight = dequantize(integers, scales, layer.shape, layer.plan.axis);
  edits.input(layer.name, layer.weightIndex, edits.constant(names.weight, weight, layer.shape));
  const values = bias ? dequantize(bias.integers, bias.scales, [bias.integers.length], 0) : floatBias;
  if (!values || !layer.bias) return;
  const { node, index } = layer.bias;
  edits.input(node, index, edits.constant(names.bias, values, [values.length]));
}
