import type { GraphNode } from '../config/graph.js';
import type { Group } from '../config/plan.js';
import { UserError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { groupNodes } from '../graph/groups.js';
import { operatorRole } from '../graph/operators.js';
import { shapeNodes } from '../graph/shape-nodes.js';
import type { Kernel, Product, TensorSize, Unit } from './kernel.js';
import { functionPasses, operatorCost } from './operators.js';

/** What decides which nodes become one kernel on a device, and which run elsewhere. */
export interface LoweringRules {
  /** Functions of each element that a layer or sum evaluates before it stores its result, by the names of function-name.ts. */
  fusedFunctions: ReadonlySet<string>;
  /** A sum is computed by the layer that yields one of its operands. */
  fusesSums: boolean;
  /** Channels of which whole multiples can be concatenated and split without a copy; 0 where that always takes one. */
  freeConcat: number;
  /** Operators that run on the host. */
  host: ReadonlySet<string>;
  /** A transposed convolution spreads its input with zeros and multiplies with every tap of the window. */
  fillsStrides: boolean;
  /** Passes of the vector unit over each element, by operator, where the device's are known. */
  passes: Readonly<Record<string, number>>;
}

/** A network as a device runs it. */
export interface LoweredNetwork {
  /** In the order they run. */
  kernels: readonly Kernel[];
  /** Sizes of every tensor that a kernel reads or writes. */
  tensors: ReadonlyMap<string, TensorSize>;
  inputs: readonly string[];
  outputs: readonly string[];
}

/**
 * Turns a graph into kernels.
 *
 * Nodes that compute with shapes alone vanish: their results are known when the network is compiled.
 * @throws UserError COST_DYNAMIC_SHAPE for a tensor without fixed sizes
 */
export function lowerGraph(graph: Graph, rules: LoweringRules): LoweredNetwork {
  const shapes = shapeNodes(graph);
  const isApart = (node: GraphNode): boolean =>
    shapes.has(node.name) || operatorRole(node.op, node.domain) === undefined || rules.host.has(node.op);
  const sizes = new TensorSizes(graph);
  const kernels: Kernel[] = [];
  for (const group of groupNodes(graph, isApart)) {
    if (shapes.has(group.name)) continue;
    for (const kernel of kernelsOf(graph, group, rules, sizes)) {
      const fused = rules.fusesSums && kernel.op === 'Add' ? fuseSum(graph, kernels, kernel, sizes) : false;
      if (!fused) kernels.push(kernel);
    }
  }
  return {
    kernels,
    tensors: sizes.found,
    inputs: graph.file.inputs.map(({ name }) => name).filter((name) => !graph.isConstant(name)),
    outputs: graph.file.outputs.map(({ name }) => name),
  };
}

/** Sizes of tensors, looked up once. */
class TensorSizes {
  readonly found = new Map<string, TensorSize>();

  constructor(private readonly graph: Graph) {}

  of(tensor: string): TensorSize {
    const known = this.found.get(tensor);
    if (known) return known;
    const shape = this.graph.shape(tensor);
    const fixed = shape?.every((size) => size !== null) ? (shape as number[]) : null;
    if (!fixed) throw dynamicShape(this.graph, tensor, shape);
    // Maps have channels before their spatial axes; rows of a matrix or sequence have features last.
    const size = {
      shape: fixed,
      elements: fixed.reduce((a, b) => a * b, 1),
      channelAxis: fixed.length >= 4 ? 1 : Math.max(0, fixed.length - 1),
    };
    this.found.set(tensor, size);
    return size;
  }
}

function dynamicShape(graph: Graph, tensor: string, shape: (number | null)[] | undefined): UserError {
  const inputs = graph.file.inputs.map(
    ({ name, shape: dims }) =>
      `${name}:${dims?.map((dim) => (typeof dim === 'number' ? dim : 1)).join(',') ?? '…'}`,
  );
  return new UserError(
    'COST_DYNAMIC_SHAPE',
    `The size of tensor "${tensor}" is not fixed, so its cost is not known.`,
    {
      expected: 'fixed sizes of all inputs',
      found: `${tensor} [${shape?.map((dim) => dim ?? '?').join(', ') ?? 'rank not known'}]`,
      suggestions: [`Fix the shapes of the inputs: --input-shape "${inputs.join(';')}"`],
    },
  );
}

function kernelsOf(graph: Graph, group: Group, rules: LoweringRules, sizes: TensorSizes): Kernel[] {
  const nodes = group.nodes.map((name) => graph.node(name)!);
  const first = nodes[0]!;
  const layer = productOf(graph, first, rules, sizes);
  const rest = nodes.slice(1).filter((node) => node.op !== 'BatchNormalization');
  const separate =
    rest.length > 0 && (layer !== null || isSum(group)) && !rules.fusedFunctions.has(group.activation ?? '');
  const own = separate ? nodes.filter((node) => !rest.includes(node)) : nodes;
  const written = (members: readonly GraphNode[]): string[] =>
    members.at(-1)!.outputs.filter((output) => output !== '');
  const work = layer
    ? {
        unit: isDepthwise(layer) ? ('depthwise' as const) : ('matrix' as const),
        vector: 0,
        over: written(own)[0]!,
      }
    : vectorWork(graph, group, own, rules, sizes);
  const known =
    layer !== null ||
    operatorCost(first) !== null ||
    group.kind === 'activation' ||
    group.kind === 'normalization';
  const kernel: Kernel = {
    name: group.name,
    nodes: own.map(({ name }) => name),
    op: first.op,
    kind: group.kind,
    unit: work.unit,
    product: layer,
    weights: constantElements(graph, own),
    vector: work.vector,
    over: work.over,
    reads: group.inputs,
    writes: written(own),
    guessed: !known,
  };
  for (const tensor of [...kernel.reads, ...kernel.writes]) sizes.of(tensor);
  if (!separate) return [kernel];
  const between = kernel.writes[0]!;
  const result = written(rest);
  sizes.of(result[0]!);
  const behind: Kernel = {
    name: rest[0]!.name,
    nodes: rest.map(({ name }) => name),
    op: group.activation ?? rest[0]!.op,
    kind: 'activation',
    unit: 'vector',
    product: null,
    weights: constantElements(graph, rest),
    vector: sizes.of(between).elements * functionPasses(group.activation, rules.passes),
    over: between,
    reads: [between],
    writes: result,
    guessed: false,
  };
  return [kernel, behind];
}

const isSum = ({ kind }: Group): boolean => kind === 'add' || kind === 'sub' || kind === 'mul';

const isDepthwise = ({ groups, k }: Product): boolean => groups > 1 && k === 1;

/** The product of matrices of a layer; null for other operators. */
function productOf(
  graph: Graph,
  node: GraphNode,
  { fillsStrides }: LoweringRules,
  sizes: TensorSizes,
): Product | null {
  if (node.domain !== '') return null;
  const out = (): readonly number[] => sizes.of(node.outputs[0]!).shape;
  const weight = (): readonly number[] =>
    graph.constant(node.inputs[1])?.shape ?? sizes.of(node.inputs[1]!).shape;
  const volume = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  switch (node.op) {
    case 'Conv': {
      const [batch = 1, channels = 1, ...space] = out();
      const [, k = 1, ...window] = weight();
      const groups = Number(node.attributes.group ?? 1);
      return { m: batch * volume(space), k, n: channels / groups, taps: volume(window), groups };
    }
    case 'ConvTranspose': {
      // Every output pixel sees the taps that the stride leaves it: as many small convolutions as the stride has phases,
      // unless the device multiplies with the zeros between as well.
      const [batch = 1, channels = 1, ...space] = out();
      const [inputs = 1, , ...window] = weight();
      const groups = Number(node.attributes.group ?? 1);
      const strides = Array.isArray(node.attributes.strides) ? node.attributes.strides.map(Number) : [];
      const taps = fillsStrides ? window : window.map((size, axis) => Math.ceil(size / (strides[axis] ?? 1)));
      return {
        m: batch * volume(space),
        k: inputs / groups,
        n: channels / groups,
        taps: volume(taps),
        groups,
      };
    }
    case 'Gemm': {
      const [m = 1, n = 1] = out();
      const shape = weight();
      const k = Number(node.attributes.transB ?? 0) ? shape[1] : shape[0];
      return { m, k: k ?? 1, n, taps: 1, groups: 1 };
    }
    case 'MatMul': {
      const shape = out();
      const right = weight();
      const left = graph.constant(node.inputs[0])?.shape ?? sizes.of(node.inputs[0]!).shape;
      const n = right.length > 1 ? right.at(-1)! : 1;
      const rows = volume(shape) / n;
      // Where the right side is a stack of matrices each of them is a product of its own.
      const stack = right.length > 2 ? volume(right.slice(0, -2)) : 1;
      return { m: rows / stack, k: left.at(-1)!, n, taps: 1, groups: stack };
    }
    default:
      return null;
  }
}

function constantElements(graph: Graph, nodes: readonly GraphNode[]): number {
  let total = 0;
  for (const node of nodes)
    for (const input of node.inputs) {
      const constant = graph.constant(input);
      if (constant && constant.dtype !== 'int64') total += constant.shape.reduce((a, b) => a * b, 1);
    }
  return total;
}

/** Where a group without a layer runs, and how much the vector unit has to do. */
function vectorWork(
  graph: Graph,
  group: Group,
  nodes: readonly GraphNode[],
  rules: LoweringRules,
  sizes: TensorSizes,
): { unit: Unit; vector: number; over: string } {
  const first = nodes[0]!;
  const output = nodes.at(-1)!.outputs.find((name) => name !== '')!;
  const work = (unit: Unit, passes: number, over = output) => ({
    unit,
    vector: sizes.of(over).elements * passes,
    over,
  });
  if (group.kind === 'activation') return work('vector', functionPasses(group.activation, rules.passes));
  if (group.kind === 'normalization') return work('vector', 8);
  const cost = operatorCost(first);
  if (!cost) return work('mover', 0);
  if (cost.unit === 'host' || rules.host.has(first.op)) return work('host', cost.passes);
  if (isFreeOf(graph, first, rules, sizes)) return work('free', 0);
  const fused = isSum(group) && nodes.length > 1 ? functionPasses(group.activation, rules.passes) : 0;
  const passes = (rules.passes[first.op] ?? cost.passes) + fused;
  return work(cost.unit, passes, cost.over === 'input' ? group.inputs[0] : output);
}

/** Whether a mover has nothing to move: whole blocks of channels that are written in place, or sizes of one. */
function isFreeOf(graph: Graph, node: GraphNode, { freeConcat }: LoweringRules, sizes: TensorSizes): boolean {
  const cost = operatorCost(node);
  if (cost?.unit === 'free') return true;
  if (node.op !== 'Concat' && node.op !== 'Split') return isTrivialTranspose(node, sizes);
  if (freeConcat === 0) return false;
  const parts = node.op === 'Concat' ? graph.dataInputs(node) : node.outputs.filter((name) => name !== '');
  const axis = Number(node.attributes.axis ?? 0);
  return parts.every((part) => {
    const { shape, channelAxis } = sizes.of(part);
    return (axis < 0 ? axis + shape.length : axis) === channelAxis && shape[channelAxis]! % freeConcat === 0;
  });
}

/** A transpose that changes only the places of axes of size one moves nothing. */
function isTrivialTranspose(node: GraphNode, sizes: TensorSizes): boolean {
  if (node.op !== 'Transpose' || !Array.isArray(node.attributes.perm)) return false;
  const { shape } = sizes.of(node.inputs[0]!);
  const moved = node.attributes.perm.map(Number).filter((axis) => shape[axis] !== 1);
  return moved.every((axis, index) => index === 0 || axis > moved[index - 1]!);
}

/**
 * Lets the layer that yields an operand of a sum compute the sum as well: the later one of the two, when nothing else
 * needs its result.
 */
function fuseSum(graph: Graph, kernels: Kernel[], sum: Kernel, sizes: TensorSizes): boolean {
  const output = sum.writes[0]!;
  for (let index = kernels.length - 1; index >= 0; index--) {
    const layer = kernels[index]!;
    const operand = layer.writes[0]!;
    if (!sum.reads.includes(operand)) continue;
    const fits =
      (layer.unit === 'matrix' || layer.unit === 'depthwise') &&
      layer.op !== 'Add' &&
      graph.soleReader(operand) !== undefined &&
      sizes.of(operand).elements === sizes.of(output).elements;
    if (!fits) continue;
    const others = sum.reads.filter((tensor) => tensor !== operand);
    kernels.splice(index, 1);
    kernels.push({
      ...layer,
      nodes: [...layer.nodes, ...sum.nodes],
      weights: layer.weights + sum.weights,
      reads: [...layer.reads, ...others],
      writes: sum.writes,
    });
    return true;
  }
  return false;
}
