import { readFile } from 'node:fs/promises';
import { toNumber } from '../config/common.js';
import {
  type GraphFile,
  type GraphNode,
  graphSchema,
  type Initializer,
  type TensorType,
} from '../config/graph.js';
import { UserError } from '../errors.js';
import { keepsFloat } from './operators.js';
import { structureFault } from './structure.js';

/** One place where a tensor is read. */
export interface Use {
  node: GraphNode;
  index: number;
}

/** A captured network with its edges indexed; never changed after construction. Nodes are in topological order. */
export class Graph {
  private readonly byName: Map<string, GraphNode>;
  private readonly producers = new Map<string, GraphNode>();
  private readonly uses = new Map<string, Use[]>();
  private readonly constants: Map<string, Initializer>;
  private readonly types: Map<string, TensorType>;
  private readonly outputNames: Set<string>;
  private readonly positions: Map<string, number>;
  private readonly floats = new Set<string>();
  private readonly capturing = new Map<string, GraphNode[]>();

  constructor(readonly file: GraphFile) {
    this.byName = new Map(file.nodes.map((node) => [node.name, node]));
    this.constants = new Map(file.initializers.map((initializer) => [initializer.name, initializer]));
    this.types = new Map<string, TensorType>([
      ...Object.entries(file.tensors),
      ...file.initializers.map(({ name, dtype, shape }) => [name, { dtype, shape }] as const),
      ...[...file.inputs, ...file.outputs].map(({ name, dtype, shape }) => [name, { dtype, shape }] as const),
    ]);
    this.outputNames = new Set(file.outputs.map((output) => output.name));
    this.positions = new Map(file.nodes.map((node, index) => [node.name, index]));
    for (const { name, dtype } of [...file.inputs, ...file.initializers])
      if (dtype === 'float32') this.floats.add(name);
    for (const node of file.nodes) this.index(node);
  }

  private index(node: GraphNode): void {
    for (const output of node.outputs) {
      if (output === '') continue;
      this.producers.set(output, node);
      if (this.infersFloat(node, output)) this.floats.add(output);
    }
    node.inputs.forEach((tensor, index) => {
      if (tensor !== '') append(this.uses, tensor, { node, index });
    });
    for (const tensor of node.captures ?? []) append(this.capturing, tensor, node);
  }

  /** Behind an operator that it does not know, shape inference stops: then a result is what its node reads. */
  private infersFloat(node: GraphNode, output: string): boolean {
    const dtype = this.types.get(output)?.dtype ?? 'unknown';
    if (dtype !== 'unknown') return dtype === 'float32';
    const first = node.inputs.find((input) => input !== '');
    return first !== undefined && this.floats.has(first) && keepsFloat(node);
  }

  get nodes(): readonly GraphNode[] {
    return this.file.nodes;
  }

  node(name: string): GraphNode | undefined {
    return this.byName.get(name);
  }

  /** Place of a node in topological order. */
  position(node: GraphNode): number {
    return this.positions.get(node.name)!;
  }

  /** The node that computes a tensor; undefined for graph inputs and initializers. */
  producer(tensor: string): GraphNode | undefined {
    return this.producers.get(tensor);
  }

  /** Where a tensor is read, in graph order; subgraphs do not count (see `capturers`). */
  readers(tensor: string): readonly Use[] {
    return this.uses.get(tensor) ?? [];
  }

  /** Nodes (If, Loop, Scan) whose subgraphs read a tensor. */
  capturers(tensor: string): readonly GraphNode[] {
    return this.capturing.get(tensor) ?? [];
  }

  /** Whether anything but the nodes of `inside` needs a tensor: another node, a subgraph or a graph output. */
  isReadOutside(tensor: string, inside: ReadonlySet<string>): boolean {
    return (
      this.isOutput(tensor) ||
      this.capturing.has(tensor) ||
      this.readers(tensor).some(({ node }) => !inside.has(node.name))
    );
  }

  /** The only node that reads a tensor, when nothing else, no graph output and no subgraph, needs it. */
  soleReader(tensor: string): GraphNode | undefined {
    const first = this.readers(tensor)[0]?.node;
    return first && !this.isReadOutside(tensor, new Set([first.name])) ? first : undefined;
  }

  isOutput(tensor: string): boolean {
    return this.outputNames.has(tensor);
  }

  isConstant(tensor: string): boolean {
    return this.constants.has(tensor);
  }

  constant(tensor: string | undefined): Initializer | undefined {
    return tensor === undefined ? undefined : this.constants.get(tensor);
  }

  /** The elements of a constant of at most 64 elements; undefined for larger ones and for what is no constant. */
  value(tensor: string | undefined): number[] | undefined {
    return this.constant(tensor)?.value?.map(toNumber);
  }

  /** Sizes of a tensor, null for those that are not fixed; undefined when not even the rank is known. */
  shape(tensor: string): (number | null)[] | undefined {
    return this.types.get(tensor)?.shape?.map((dim) => (typeof dim === 'number' ? dim : null));
  }

  /** Whether a tensor holds float32 values. */
  isFloat(tensor: string): boolean {
    return this.floats.has(tensor);
  }

  /** Inputs of a node that are neither constants nor omitted. */
  dataInputs(node: GraphNode): string[] {
    return node.inputs.filter((input) => input !== '' && !this.constants.has(input));
  }
}

function append<T>(lists: Map<string, T[]>, key: string, value: T): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

/**
 * Reads graph.json.
 * @throws UserError GRAPH_BROKEN when the file is no graph of this version
 */
export async function loadGraph(path: string): Promise<Graph> {
  const broken = (why: string, cause?: unknown): UserError =>
    new UserError('GRAPH_BROKEN', `${path} is not a graph.json of this version of dopt: ${why}`, {
      place: path,
      cause,
      suggestions: ['Delete the run folder and start the command again.'],
    });
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw broken(cause instanceof Error ? cause.message : String(cause), cause);
  }
  const parsed = graphSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw broken(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unreadable'}`, parsed.error);
  }
  const fault = structureFault(parsed.data);
  if (fault) throw broken(fault);
  return new Graph(parsed.data);
}
