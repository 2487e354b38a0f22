import type { GraphFile, GraphNode } from '../config/graph.js';
import type { Plan, WeightPlan } from '../config/plan.js';
import { Bug } from '../errors.js';
import type { SafetensorsFile } from '../graph/safetensors.js';
import { foldBatchNorm } from './algorithms/batch-norm.js';
import { sumsFewProducts } from './algorithms/exact-sums.js';

/** A layer with weights as it will run on the device: batch normalization folded in, bias present where it can be. */
export interface Layer {
  /** Name of the Conv, ConvTranspose, Gemm or MatMul node. */
  name: string;
  /** Tensor that the layer reads. */
  input: string;
  weight: Float32Array;
  /** Which input of the node the weight is. */
  weightIndex: number;
  shape: number[];
  plan: WeightPlan;
  bias: LayerBias | null;
  /** Attributes that replace the node's own, when folding changed them. */
  attributes: GraphNode['attributes'] | null;
  /** Batch normalization that disappears into the layer. */
  batchNorm: GraphNode | null;
  /** The layer's result before its activation function, in the float model and (same name) in the quantized one. */
  output: string;
  /** Axis of the output channels in that result. */
  outputAxis: number;
  /** Whether its scales have few bits, so that its sums are exact; see algorithms/exact-sums.ts. */
  exactSums: boolean;
}

export interface LayerBias {
  /** One value an output channel. */
  values: Float32Array;
  /** Where it is read: the layer's own bias input, or an Add behind a MatMul. */
  node: string;
  index: number;
}

/** Where float constants are read from, by name. */
export type Constants = Pick<SafetensorsFile, 'float32'>;

/**
 * The layers of a plan with their float weights, in graph order.
 * @param weights every initializer of the captured model
 */
export function collectLayers(graph: GraphFile, plan: Plan, weights: Constants): Layer[] {
  const nodes = new Map(graph.nodes.map((node) => [node.name, node]));
  const constants = new Set(graph.initializers.map((initializer) => initializer.name));
  const folds = new Map(plan.folds.map((fold) => [fold.into, nodes.get(fold.batchNorm)!]));
  const groups = new Map(plan.groups.flatMap((group) => group.nodes.map((node) => [node, group] as const)));

  const layerOf = (weightPlan: WeightPlan): Layer => {
    const node = nodes.get(weightPlan.node);
    const data = node?.inputs.find((input) => input !== weightPlan.tensor);
    if (!node || data === undefined) throw new Bug(`plan names no usable layer ${weightPlan.node}`);
    const { data: weight, shape } = weights.float32(weightPlan.tensor);
    const rank = shape.length;
    const weightIndex = node.inputs.indexOf(weightPlan.tensor);
    const exactSums = sumsFewProducts(node.op, shape, weightPlan.groups);
    const common = { name: node.name, input: data, weight, weightIndex, shape, plan: weightPlan, exactSums };

    if (node.op === 'MatMul') {
      const add = groups
        .get(node.name)
        ?.nodes.map((name) => nodes.get(name)!)
        .find((other) => {
          return other.op === 'Add' && other.inputs.includes(node.outputs[0]!);
        });
      const index = add?.inputs.findIndex((input) => constants.has(input)) ?? -1;
      const constant = add && index >= 0 ? weights.float32(add.inputs[index]!) : undefined;
      const fits = constant?.data.length === shape[rank - 1] && constant?.shape.at(-1) === shape[rank - 1];
      return {
        ...common,
        bias: add && constant && fits ? { values: constant.data, node: add.name, index } : null,
        attributes: null,
        batchNorm: null,
        output: add && fits ? add.outputs[0]! : node.outputs[0]!,
        outputAxis: -1,
      };
    }
    return foldLayer(node, common, folds.get(node.name) ?? null, constants, weights);
  };
  return plan.weights.map(layerOf);
}

/** Conv, ConvTranspose and Gemm: bias made explicit, Gemm's alpha and beta and the batch normalization folded in. */
function foldLayer(
  node: GraphNode,
  common: Pick<Layer, 'name' | 'input' | 'weight' | 'weightIndex' | 'shape' | 'plan' | 'exactSums'>,
  batchNorm: GraphNode | null,
  constants: ReadonlySet<string>,
  weights: Constants,
): Layer {
  const channelOf = outputChannelOf(node, common.shape, common.plan.groups);
  const channels = outputChannels(node, common.shape, common.plan.groups);
  const biasName = node.inputs[2] || null;
  let values: Float32Array | null = new Float32Array(channels);
  if (biasName) {
    const constant = constants.has(biasName) ? weights.float32(biasName).data : null;
    if (constant?.length === channels) values = constant;
    else if (constant?.length === 1) values.fill(constant[0]!);
    else values = null;
  }

  let weight = common.weight;
  let attributes: Layer['attributes'] = null;
  const alpha = Number(node.attributes.alpha ?? 1);
  const beta = Number(node.attributes.beta ?? 1);
  if (node.op === 'Gemm' && values && (alpha !== 1 || beta !== 1)) {
    weight = weight.map((w) => w * alpha);
    values = values.map((b) => b * beta);
    attributes = { ...node.attributes, alpha: 1, beta: 1 };
  }
  if (batchNorm) {
    if (!values) throw new Bug(`plan folds ${batchNorm.name} into ${node.name}, whose bias is no constant`);
    const [gamma, beta, mean, variance] = batchNorm.inputs
      .slice(1, 5)
      .map((name) => weights.float32(name).data);
    ({ weight, bias: values } = foldBatchNorm(weight, values, channelOf, {
      gamma: gamma!,
      beta: beta!,
      mean: mean!,
      variance: variance!,
      epsilon: Number(batchNorm.attributes.epsilon ?? 1e-5),
    }));
  }
  return {
    ...common,
    weight,
    bias: values && { values, node: node.name, index: 2 },
    attributes,
    batchNorm,
    output: (batchNorm ?? node).outputs[0]!,
    outputAxis: node.op === 'Gemm' ? -1 : 1,
  };
}

/** Number of output channels of a layer by its stored weight. */
function outputChannels(node: GraphNode, shape: readonly number[], groups: number): number {
  if (node.op === 'ConvTranspose') return shape[1]! * groups;
  if (node.op === 'Gemm') return Number(node.attributes.transB ?? 0) ? shape[0]! : shape[1]!;
  return shape[0]!;
}

/** Output channel that the weight's row-major element i belongs to. */
function outputChannelOf(node: GraphNode, shape: readonly number[], groups: number): (i: number) => number {
  const spatial = shape.slice(2).reduce((a, b) => a * b, 1);
  if (node.op === 'ConvTranspose') {
    // Stored as [C_in, C_out / groups, …]: the group follows from the input channel.
    const perGroup = shape[1]!;
    const inputsPerGroup = shape[0]! / groups;
    return (i) => {
      const input = Math.floor(i / (perGroup * spatial));
      return Math.floor(input / inputsPerGroup) * perGroup + (Math.floor(i / spatial) % perGroup);
    };
  }
  if (node.op === 'Gemm' && !Number(node.attributes.transB ?? 0)) return (i) => i % shape[1]!;
  const perChannel = shape.slice(1).reduce((a, b) => a * b, 1);
  return (i) => Math.floor(i / perChannel);
}
