import type { GraphFile } from '../config/graph.js';
import type { Plan } from '../config/plan.js';
import type { NewNode, Rewrite } from '../config/rewrite.js';
import type { Tensor } from '../graph/safetensors.js';
import type { Layer } from './layers.js';
import type { SolvedActivation, SolvedLayer } from './solution.js';

/** A rewrite and the initializers it brings in. */
export interface QdqRewrite {
  rewrite: Rewrite;
  parameters: Map<string, Tensor>;
}

/** Name of a tensor behind its QuantizeLinear/DequantizeLinear pair. */
export const dequantized = (tensor: string): string => `${tensor}/dequantized`;

/** Name of the float32 initializer that carries a layer's bias while biases are being corrected. */
export const floatBias = (layer: string): string => `${layer}/bias`;

/**
 * The edits that turn the captured float model into a QDQ model: batch normalization folded, int8 weights behind
 * DequantizeLinear, a QuantizeLinear/DequantizeLinear pair on every quantized tensor.
 *
 * @param biases 'int32' writes biases as integers at s_x·s_w, as the device runs them; 'float32' keeps them as float
 *   initializers (`floatBias`), the form in which bias correction measures the model
 */
export function qdqRewrite(
  graph: GraphFile,
  plan: Plan,
  layers: readonly Layer[],
  solvedLayers: ReadonlyMap<string, SolvedLayer>,
  activations: ReadonlyMap<string, SolvedActivation>,
  biases: 'int32' | 'float32',
): QdqRewrite {
  const edits = new Edits(graph);
  for (const layer of layers) {
    foldNodes(edits, layer);
    writeWeight(edits, layer, solvedLayers.get(layer.name)!);
    if (layer.bias) writeBias(edits, layer, solvedLayers.get(layer.name)!, biases);
  }
  const readers = integerReaders(plan, edits.removeNodes);
  for (const { tensor } of plan.activations) {
    const solved = activations.get(tensor)!;
    // onnxruntime before 1.17 has no 16-bit operators, and what 16 bits round away moves no mean.
    if (biases === 'float32' && solved.format.bits === 16) continue;
    writeActivation(edits, tensor, solved, readers);
  }
  return edits.done();
}

/** How a rewritten model can be checked: onnxruntime of the onnx profile is older than 16-bit operators. */
export const checkOf = ({ addNodes }: Pick<Rewrite, 'addNodes'>): 'structure' | 'load' =>
  addNodes.some(({ domain }) => domain !== '') ? 'structure' : 'load';

/** Nodes that read the rounded value of a quantized tensor: all of them where tensors are stored as integers. */
export function integerReaders(plan: Plan, removed: readonly string[]): Set<string> {
  const groups = plan.storage === 'integer' ? plan.groups : plan.groups.filter((group) => group.quantized);
  const nodes = new Set(groups.flatMap((group) => group.nodes));
  for (const name of removed) nodes.delete(name);
  return nodes;
}

/** Collects edits; remembers which tensor each node input reads by now. */
class Edits {
  readonly removeNodes: string[] = [];
  readonly inputs: Rewrite['inputs'] = [];
  readonly outputs: Rewrite['outputs'] = [];
  readonly attributes: Rewrite['attributes'] = [];
  readonly addNodes: NewNode[] = [];
  readonly parameters = new Map<string, Tensor>();
  private readonly readers = new Map<string, { node: string; index: number }[]>();

  constructor(graph: GraphFile) {
    for (const node of graph.nodes) {
      node.inputs.forEach((tensor, index) => {
        if (tensor)
          this.readers.set(tensor, [...(this.readers.get(tensor) ?? []), { node: node.name, index }]);
      });
    }
  }

  /** Lets the readers of `tensor` that are among `nodes` read `instead`; graph outputs keep the tensor itself. */
  redirect(tensor: string, instead: string, nodes: ReadonlySet<string>): void {
    for (const { node, index } of this.readers.get(tensor) ?? []) {
      if (nodes.has(node)) this.inputs.push({ node, index, tensor: instead });
    }
  }

  /** A DequantizeLinear over integers given as an initializer; returns the name of the float tensor. */
  dequantizeConstant(name: string, integers: Tensor, scales: Float32Array, axis: number | null): string {
    const scalar = axis === null;
    this.parameters.set(`${name}/quantized`, integers);
    this.parameters.set(`${name}/scale`, { data: scales, shape: scalar ? [] : [scales.length] });
    const inputs = [`${name}/quantized`, `${name}/scale`];
    if (!(integers.data instanceof Int32Array)) {
      // An int32 input of DequantizeLinear takes no zero point; the others name theirs, though it is 0.
      const zeros = new (integers.data.constructor as Int8ArrayConstructor)(scales.length);
      this.parameters.set(`${name}/zero_point`, { data: zeros, shape: scalar ? [] : [scales.length] });
      inputs.push(`${name}/zero_point`);
    }
    this.addNodes.push({
      name: `${name}/DequantizeLinear`,
      op: 'DequantizeLinear',
      domain: '',
      inputs,
      outputs: [dequantized(name)],
      attributes: scalar ? {} : { axis },
    });
    return dequantized(name);
  }

  done(): QdqRewrite {
    const { removeNodes, inputs, outputs, attributes, addNodes, parameters } = this;
    return {
      rewrite: {
        version: 1,
        removeNodes,
        initializers: [...parameters.keys()],
        inputs,
        outputs,
        attributes,
        addNodes,
        extraOutputs: [],
      },
      parameters,
    };
  }
}

/** Takes the batch normalization out, and renews the node's attributes when folding changed them. */
function foldNodes(edits: Edits, layer: Layer): void {
  if (layer.batchNorm) {
    edits.removeNodes.push(layer.batchNorm.name);
    edits.outputs.push({ node: layer.name, index: 0, tensor: layer.output });
  }
  if (layer.attributes) edits.attributes.push({ node: layer.name, attributes: layer.attributes });
}

function writeWeight(edits: Edits, layer: Layer, solved: SolvedLayer): void {
  const tensor = edits.dequantizeConstant(
    `${layer.name}/weight`,
    { data: solved.integers, shape: layer.shape },
    solved.scales,
    layer.plan.axis,
  );
  edits.inputs.push({ node: layer.name, index: layer.weightIndex, tensor });
}

function writeBias(edits: Edits, layer: Layer, solved: SolvedLayer, form: 'int32' | 'float32'): void {
  const { node, index } = layer.bias!;
  if (form === 'float32' || !solved.quantizedBias) {
    const name = floatBias(layer.name);
    edits.parameters.set(name, { data: solved.bias!, shape: [solved.bias!.length] });
    edits.inputs.push({ node, index, tensor: name });
    return;
  }
  const { integers, scales } = solved.quantizedBias;
  const scalar = layer.plan.axis === null;
  const tensor = edits.dequantizeConstant(
    `${layer.name}/bias`,
    { data: integers, shape: [integers.length] },
    scalar ? scales.slice(0, 1) : scales,
    scalar ? null : 0,
  );
  edits.inputs.push({ node, index, tensor });
}

function writeActivation(
  edits: Edits,
  tensor: string,
  { scale, zeroPoint, format, channels }: SolvedActivation,
  readers: ReadonlySet<string>,
): void {
  const Integers =
    format.bits === 8 ? (format.signed ? Int8Array : Uint8Array) : format.signed ? Int16Array : Uint16Array;
  const list = channels?.parameters ?? [{ scale, zeroPoint }];
  const shape = channels ? [list.length] : [];
  edits.parameters.set(`${tensor}/scale`, { data: Float32Array.from(list, (p) => p.scale), shape });
  edits.parameters.set(`${tensor}/zero_point`, { data: Integers.from(list.map((p) => p.zeroPoint)), shape });
  const parameters = [`${tensor}/scale`, `${tensor}/zero_point`];
  const attributes = channels ? { axis: channels.axis } : {};
  // ONNX itself has 16-bit forms from opset 21 only; onnxruntime has had them in a domain of its own since 1.17.
  const domain = format.bits === 16 ? 'com.microsoft' : '';
  edits.redirect(tensor, dequantized(tensor), readers);
  edits.addNodes.push(
    {
      name: `${tensor}/QuantizeLinear`,
      op: 'QuantizeLinear',
      domain,
      inputs: [tensor, ...parameters],
      outputs: [`${tensor}/quantized`],
      attributes,
    },
    {
      name: `${tensor}/DequantizeLinear`,
      op: 'DequantizeLinear',
      domain,
      inputs: [`${tensor}/quantized`, ...parameters],
      outputs: [dequantized(tensor)],
      attributes,
    },
  );
}
