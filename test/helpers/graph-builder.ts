import type { Dtype } from '../../src/config/common.js';
import type { Attribute, GraphFile, GraphNode, Initializer } from '../../src/config/graph.js';
import { Graph } from '../../src/graph/graph.js';

export interface NodeOptions {
  name?: string;
  domain?: string;
  /** Element type of the results. */
  dtype?: Dtype;
  shape?: (number | string | null)[] | null;
  captures?: string[];
}

/** Builds small graphs for tests: every call adds a node and returns the name of its result. */
export class GraphBuilder {
  private readonly nodes: GraphNode[] = [];
  private readonly initializers: Initializer[] = [];
  private readonly inputs: GraphFile['inputs'] = [];
  private readonly tensors: GraphFile['tensors'] = {};

  input(name: string, shape: number[] = [1, 4, 8, 8], dtype: Dtype = 'float32'): string {
    this.inputs.push({ name, dtype, shape });
    return name;
  }

  /** A constant of the given values, or of a shape without values (too large to be inlined). */
  constant(name: string, shape: number[], value?: number[], dtype: Dtype = 'float32'): string {
    this.initializers.push({ name, dtype, shape, ...(value ? { value } : {}) });
    return name;
  }

  scalar(value: number): string {
    return this.constant(`c${this.initializers.length}`, [], [value]);
  }

  integers(...values: number[]): string {
    return this.constant(`c${this.initializers.length}`, [values.length], values, 'int64');
  }

  node(
    op: string,
    inputs: string[],
    attributes: Record<string, Attribute> = {},
    options: NodeOptions = {},
  ): string {
    return this.split(op, inputs, 1, attributes, options)[0]!;
  }

  /** A node with several results. */
  split(
    op: string,
    inputs: string[],
    count: number,
    attributes: Record<string, Attribute> = {},
    {
      name = `${op}_${this.nodes.length}`,
      domain = '',
      dtype = 'float32',
      shape,
      captures,
    }: NodeOptions = {},
  ): string[] {
    const outputs = Array.from({ length: count }, (_, i) => `${name}:${i}`);
    this.nodes.push({ name, op, domain, inputs, outputs, attributes, ...(captures ? { captures } : {}) });
    for (const output of outputs) this.tensors[output] = { dtype, shape: shape ?? null };
    return outputs;
  }

  /** A convolution with constant weight; depthwise when `group` is the number of channels. */
  conv(input: string, options: { name?: string; group?: number; bias?: boolean } = {}): string {
    const group = options.group ?? 1;
    const name = options.name ?? `conv${this.nodes.length}`;
    const inputs = [input, this.constant(`${name}.weight`, [4, 4 / group, 3, 3])];
    if (options.bias) inputs.push(this.constant(`${name}.bias`, [4]));
    return this.node('Conv', inputs, { group }, { name });
  }

  /** A MatMul with constant weight [4, 4]. */
  matMul(input: string, name = `matmul${this.nodes.length}`): string {
    return this.node('MatMul', [input, this.constant(`${name}.weight`, [4, 4])], {}, { name });
  }

  batchNorm(input: string, name = `bn${this.nodes.length}`): string {
    const parameters = ['scale', 'bias', 'mean', 'var'].map((part) => this.constant(`${name}.${part}`, [4]));
    return this.node('BatchNormalization', [input, ...parameters], {}, { name });
  }

  relu(input: string): string {
    return this.node('Relu', [input]);
  }

  /** ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add over the last axis. */
  layerNorm(x: string): string {
    const centred = this.node('Sub', [x, this.node('ReduceMean', [x], { axes: [-1] })]);
    const variance = this.node('ReduceMean', [this.node('Pow', [centred, this.scalar(2)])], { axes: [-1] });
    const root = this.node('Sqrt', [this.node('Add', [variance, this.scalar(1e-5)])]);
    const scaled = this.node('Mul', [
      this.node('Div', [centred, root]),
      this.constant(`gamma${this.nodes.length}`, [64]),
    ]);
    return this.node('Add', [scaled, this.constant(`beta${this.nodes.length}`, [64])]);
  }

  file(outputs: string[]): GraphFile {
    return {
      version: 1,
      name: 'test',
      irVersion: 8,
      opset: { '': 13 },
      inputs: this.inputs,
      outputs: outputs.map((name) => ({
        name,
        ...(this.tensors[name] ?? { dtype: 'float32', shape: null }),
      })),
      initializers: this.initializers,
      nodes: this.nodes,
      tensors: this.tensors,
    };
  }

  build(outputs: string[]): Graph {
    return new Graph(this.file(outputs));
  }
}
