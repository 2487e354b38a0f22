import type { Attribute } from '../config/graph.js';
import type { NewNode, Rewrite } from '../config/rewrite.js';
import type { Tensor } from '../graph/safetensors.js';
import type { Layer } from '../quantize/layers.js';

/** Edits of an ONNX model, and the initializers that they bring in. */
export class EditList {
  readonly parameters = new Map<string, Tensor>();
  private readonly rewrite: Rewrite = {
    version: 1,
    removeNodes: [],
    initializers: [],
    inputs: [],
    outputs: [],
    attributes: [],
    addNodes: [],
    extraOutputs: [],
  };

  /** Adds an initializer, or replaces the one of that name; returns the name. */
  constant(name: string, data: Tensor['data'], shape: number[]): string {
    this.parameters.set(name, { data, shape });
    return name;
  }

  /** Lets input `index` of a node read `tensor`. */
  input(node: string, index: number, tensor: string): void {
    this.rewrite.inputs.push({ node, index, tensor });
  }

  /** Calls output 0 of a node `tensor`. */
  output(node: string, tensor: string): void {
    this.rewrite.outputs.push({ node, index: 0, tensor });
  }

  attributes(node: string, attributes: Record<string, Attribute>): void {
    this.rewrite.attributes.push({ node, attributes });
  }

  remove(...nodes: string[]): void {
    this.rewrite.removeNodes.push(...nodes);
  }

  /** Adds a node with one output, called after it unless given; returns the output's name. */
  node(
    name: string,
    op: string,
    inputs: string[],
    attributes: NewNode['attributes'] = {},
    output = `${name}/output`,
  ): string {
    this.rewrite.addNodes.push({ name, op, domain: '', inputs, outputs: [output], attributes });
    return output;
  }

  /**
   * Takes a layer's batch normalization out of the captured model. The layer's own result then has the name of the
   * normalized one, unless the caller names it.
   */
  fold({ name, batchNorm, output, attributes }: Layer, named = output): void {
    if (batchNorm) this.remove(batchNorm.name);
    if (batchNorm || named !== output) this.output(name, named);
    if (attributes) this.attributes(name, attributes);
  }

  done(): Rewrite {
    return { ...this.rewrite, initializers: [...this.parameters.keys()] };
  }
}
