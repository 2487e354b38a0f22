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

/** One place where a tensor is read. */
export interface Use {
  node: GraphNode;
  index: number;
}

/** A captured network with its edges indexed; never changed after construction. */
export class Graph {
  private readonly byName: Map<string, GraphNode>;
  private readonly producers = new Map<string, GraphNode>();
  private readonly uses = new Map<string, Use[]>();
  private readonly constants: Map<string, Initializer>;
  private readonly types: Map<string, TensorType>;
  private readonly outputNames: Set<string>;
  private readonly positions: Map<string, number>;
  /** Tensors read by subgraphs of If, Loop or Scan nodes. */
  readonly captured: ReadonlySet<string>;

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
    this.captured = new Set(file.nodes.flatMap((node) => node.captures ?? []));
    for (const node of file.nodes) {
      for (const output of node.outputs) if (output) this.producers.set(output, node);
      node.inputs.forEach((tensor, index) => {
        if (!tensor) return;
        const uses = this.uses.get(tensor);
        if (uses) uses.push({ node, index });
        else this.uses.set(tensor, [{ node, index }]);
      });
    }
  }

  /** Nodes in topological order. */
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

  /** Where a tensor is read, in graph order; subgraphs do not count (see `captured`). */
  readers(tensor: string): readonly Use[] {
    return this.uses.get(tensor) ?? [];
  }

  /** The only node that reads a tensor, when nothing else, no graph output and no subgraph, needs it. */
  soleReader(tensor: string): GraphNode | undefined {
    const [first, ...others] = this.readers(tensor);
    if (!first || others.length > 0 || this.isOutput(tensor) || this.captured.has(tensor)) return undefined;
    return first.node;
  }

  isOutput(tensor: string): boolean {
    return this.outputNames.has(tensor);
  }

  isConstant(tensor: string): boolean {
    return this.constants.has(tensor);
  }

  constant(tensor: string): Initializer | undefined {
    return this.constants.get(tensor);
  }

  /** The elements of a small constant. */
  value(tensor: string | undefined): number[] | undefined {
    return tensor === undefined ? undefined : this.constants.get(tensor)?.value?.map(toNumber);
  }

  type(tensor: string): TensorType | undefined {
    return this.types.get(tensor);
  }

  /** Whether a tensor holds float32 values. Shape inference can fail: then it is what its producer reads. */
  isFloat(tensor: string): boolean {
    const type = this.types.get(tensor);
    if (type && type.dtype !== 'unknown') return type.dtype === 'float32';
    const first = this.producers.get(tensor)?.inputs.find((input) => input !== '');
    return first !== undefined && first !== tensor && this.isFloat(first);
  }

  /** Inputs of a node that are neither constants nor omitted. */
  dataInputs(node: GraphNode): string[] {
    return node.inputs.filter((input) => input !== '' && !this.constants.has(input));
  }
}

/**
 * Reads graph.json.
 * @throws UserError GRAPH_BROKEN when the file is no graph of this version
 */
export async function loadGraph(path: string): Promise<Graph> {
  const broken = (cause: unknown): UserError =>
    new UserError('GRAPH_BROKEN', `${path} is not a graph.json of this version of dopt.`, {
      place: path,
      cause,
      suggestions: ['Delete the run folder and start the command again.'],
    });
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw broken(cause);
  }
  const parsed = graphSchema.safeParse(json);
  if (!parsed.success) throw broken(parsed.error);
  return new Graph(parsed.data);
}
