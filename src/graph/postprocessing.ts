import type { GraphNode } from '../config/graph.js';
import { biasAdd, foldableBatchNorm } from './batch-norm.js';
import type { Graph, Use } from './graph.js';
import { operatorRole } from './operators.js';

/**
 * Nodes behind the last layers, with what they do: decoding of boxes, concatenation of unlike heads, suppression, a
 * softmax, resizing of a result.
 *
 * They are the nodes from which every way leads to a graph output, or into a search or a list of coordinates, without
 * passing another layer. They stay float, and with them the results of the last layers: boxes of 0..640 and scores of
 * 0..1 in one 8-bit tensor would leave nothing of the scores, exp() of a rounded value misses by percents.
 */
export function postprocessingNodes(graph: Graph): Map<string, string> {
  const layers = layerNodes(graph);
  const tail = new Map<string, string>();
  const leadsOut = (tensor: string): boolean =>
    graph.capturers(tensor).every((node) => tail.has(node.name)) &&
    graph.readers(tensor).every((use) => tail.has(use.node.name) || asksForFloat(graph, use));
  for (const node of [...graph.nodes].reverse()) {
    const formula = fixedFormula(graph, node);
    const used = node.outputs.filter((output) => output !== '' && isUsed(graph, output));
    if (formula !== null) tail.set(node.name, formula);
    else if (!layers.has(node.name) && used.length > 0 && used.every(leadsOut))
      tail.set(node.name, purpose(node));
  }
  return tail;
}

const isUsed = (graph: Graph, tensor: string): boolean =>
  graph.isOutput(tensor) || graph.readers(tensor).length > 0 || graph.capturers(tensor).length > 0;

function purpose(node: GraphNode): string {
  if (node.op === 'Exp') return 'decodes sizes by an exponential, which turns rounding into percents';
  if (operatorRole(node.op, node.domain) === 'selection') return 'selects among results';
  return 'leads only to graph outputs: decoding or postprocessing';
}

/** Layers proper, with the batch normalization and the bias that belong to them. */
function layerNodes(graph: Graph): Set<string> {
  const layers = new Set<string>();
  for (const node of graph.nodes) {
    if (operatorRole(node.op, node.domain) !== 'weighted' || fixedFormula(graph, node) !== null) continue;
    for (const part of [node, foldableBatchNorm(graph, node), biasAdd(graph, node)])
      if (part) layers.add(part.name);
  }
  return layers;
}

/** Inputs that are coordinates, by operator: index of the first one. */
const COORDINATES: ReadonlyMap<string, number> = new Map([
  ['RoiAlign', 1],
  ['GridSample', 1],
  ['TopK', 0],
]);

/** Whether a reader needs the float values of a tensor, for a search, a comparison, indices or coordinates. */
function asksForFloat(graph: Graph, { node, index }: Use): boolean {
  const coordinates = COORDINATES.get(node.op);
  if (coordinates !== undefined) return index >= coordinates;
  const shape = operatorRole(node.op, node.domain) === 'shape';
  return !shape && node.outputs.every((output) => output === '' || !graph.isFloat(output));
}

/** What a product with constants does that are a formula and no learned weights; null for a layer proper. */
function fixedFormula(graph: Graph, node: GraphNode): string | null {
  if (operatorRole(node.op, node.domain) !== 'weighted') return null;
  const weight = graph.value(node.inputs[1]);
  if (!weight) return null;
  if (isProgression(weight) && comesFromSoftmax(graph, node.inputs[0]!))
    return 'takes the expectation of a distribution over box sides (DFL)';
  return node.op === 'MatMul' && isCoordinateChange(graph.constant(node.inputs[1])!.shape, weight)
    ? 'changes the form of box coordinates'
    : null;
}

/**
 * Distribution focal loss (Li et al., arXiv 2006.04388): a softmax over bins, then a 1×1 convolution or product with the
 * constant 0, 1, 2, … that turns the distribution of a box side into its expectation.
 */
function isProgression(weight: readonly number[]): boolean {
  const step = weight[1]! - weight[0]!;
  return (
    weight.length > 1 &&
    step !== 0 &&
    weight.every((value, index) => Math.abs(value - weight[0]! - index * step) < 1e-5 * weight.length)
  );
}

function comesFromSoftmax(graph: Graph, tensor: string): boolean {
  for (let node = graph.producer(tensor); node; node = graph.producer(node.inputs[0]!)) {
    if (node.op === 'Softmax') return true;
    if (operatorRole(node.op, node.domain) !== 'pass-through') return false;
  }
  return false;
}

/** Centre and size into corners, as exporters with built-in suppression write it: 4×4, of 0, ±½ and ±1. */
const isCoordinateChange = (shape: readonly number[], weight: readonly number[]): boolean =>
  shape.length === 2 &&
  shape.every((size) => size === 4) &&
  weight.every((value) => [0, 0.5, 1].includes(Math.abs(value)));
