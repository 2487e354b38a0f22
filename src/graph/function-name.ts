import type { GraphNode } from '../config/graph.js';
import { clamp, evaluateFunction, gelu } from './function-evaluator.js';
import type { Graph } from './graph.js';
import { isReduction, operatorRole } from './operators.js';

/** Where functions are compared: both signs, on either side of every usual bend. */
const SAMPLES = [-8, -5, -3.5, -2.9, -1.7, -1, -0.4, -0.05, 0, 0.05, 0.4, 1, 1.7, 2.9, 3.5, 5, 6.5, 8];

/** Largest difference, absolute or relative, at which two functions are the same: constants get rounded on export. */
const TOLERANCE = 1e-3;

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

const KNOWN: readonly (readonly [string, (x: number) => number])[] = [
  ['Relu', (x) => Math.max(0, x)],
  ['Relu6', (x) => clamp(x, 0, 6)],
  ['Sigmoid', sigmoid],
  ['Tanh', Math.tanh],
  ['SiLU', (x) => x * sigmoid(x)],
  ['HardSwish', (x) => (x * clamp(x + 3, 0, 6)) / 6],
  ['HardSwish', (x) => x * clamp(0.2 * x + 0.5, 0, 1)],
  ['HardSigmoid', (x) => clamp(x + 3, 0, 6) / 6],
  ['HardSigmoid', (x) => clamp(0.2 * x + 0.5, 0, 1)],
  ['Mish', (x) => x * Math.tanh(Math.log1p(Math.exp(x)))],
  ['GELU', gelu],
  ['GELU', (x) => x * sigmoid(1.702 * x)],
  ['Elu', (x) => (x < 0 ? Math.expm1(x) : x)],
  ['Softplus', (x) => Math.log1p(Math.exp(x))],
  ['Softsign', (x) => x / (1 + Math.abs(x))],
  ['Abs', Math.abs],
];

/** Operators without parameters that are called as their functions are; nothing has to be evaluated for them. */
export const NAMED_OPERATORS: ReadonlySet<string> = new Set([
  ...['Abs', 'HardSwish', 'Mish', 'Relu', 'Sigmoid', 'Softplus', 'Softsign', 'Tanh'],
]);

/**
 * The usual name of the function that `nodes` compute of `root`, found by its values and not by its spelling.
 *
 * Gains and offsets before it belong to scale and bias and change nothing: silu(a·x + b) is SiLU. What has no name of
 * its own is called after its operators.
 * @returns null for gains and offsets alone
 */
export function functionName(graph: Graph, nodes: readonly GraphNode[], root: string): string | null {
  const [only, ...more] = nodes;
  if (only && more.length === 0 && NAMED_OPERATORS.has(only.op)) return only.op;
  let start = root;
  for (let skipped = 0; skipped < nodes.length; skipped++) {
    const rest = nodes.slice(skipped);
    const name = knownName(graph, rest, start);
    if (name !== null) return name;
    const [first, second] = rest as [GraphNode, GraphNode | undefined];
    const readOnce = !rest.slice(1).some((node) => node.inputs.includes(start));
    if (!isAffine(graph, first) || !readOnce) return operatorNames(rest);
    if (!second) return null;
    start = first.outputs[0]!;
  }
  return null;
}

function knownName(graph: Graph, nodes: readonly GraphNode[], root: string): string | null {
  const values = evaluateFunction(graph, nodes, root, SAMPLES);
  if (!values) return null;
  const known = KNOWN.find(([, f]) => SAMPLES.every((x, i) => isClose(values[i]!, f(x))));
  if (known) return known[0];
  if (isLeaky(values)) return nodes.some((node) => node.op === 'LeakyRelu') ? 'LeakyRelu' : 'PRelu';
  const low = Math.min(...values);
  const high = Math.max(...values);
  const clips = low < high && (low > SAMPLES[0]! || high < SAMPLES.at(-1)!);
  return clips && SAMPLES.every((x, i) => isClose(values[i]!, clamp(x, low, high))) ? 'Clip' : null;
}

/** x above zero, a·x below it. */
function isLeaky(values: readonly number[]): boolean {
  const slope = values[0]! / SAMPLES[0]!;
  return SAMPLES.every((x, i) => isClose(values[i]!, x < 0 ? slope * x : x)) && !isClose(slope, 1);
}

const isClose = (a: number, b: number): boolean => Math.abs(a - b) <= TOLERANCE * Math.max(1, Math.abs(b));

/** Whether a node multiplies by or adds constants. */
function isAffine(graph: Graph, node: GraphNode): boolean {
  if (node.op === 'BatchNormalization') return true;
  const constants = node.inputs.filter((input) => graph.isConstant(input)).length;
  if (constants !== 1 || node.inputs.length !== 2) return false;
  return (
    operatorRole(node.op, node.domain) === 'arithmetic' ||
    (node.op === 'Div' && graph.isConstant(node.inputs[1]!))
  );
}

const operatorNames = (nodes: readonly GraphNode[]): string =>
  nodes
    .map((node) => node.op)
    .slice(0, 4)
    .join('+');

/** A vector without symmetry, for telling normalizations. */
const VECTOR = [-7, -2.5, 0.3, 1.1, 4, 9.5, 12, -1];

/**
 * The normalization that `nodes` compute over an axis of `root`, or null when they compute none. A layer normalization
 * does not notice when its input is shifted or scaled; a normalization by root mean square does not notice scaling; the
 * results of a softmax are positive and add up to 1.
 */
export function normalizationName(graph: Graph, nodes: readonly GraphNode[], root: string): string | null {
  const of = (change: (x: number) => number): number[] | null =>
    evaluateFunction(graph, nodes, root, VECTOR.map(change));
  const [plain, scaled, shifted] = [of((x) => x), of((x) => 3 * x), of((x) => x + 2)];
  if (!plain || !scaled || !shifted) return null;
  const same = (other: readonly number[]): boolean => plain.every((value, i) => isClose(other[i]!, value));
  if (plain.every((value) => isClose(value, plain[0]!))) return null;
  if (same(scaled)) return same(shifted) ? centred(graph, nodes, root) : 'RMSNormalization';
  const sum = plain.reduce((a, b) => a + b, 0);
  return same(shifted) && plain.every((value) => value >= 0) && isClose(sum, 1) ? 'Softmax' : null;
}

/** Over the spatial axes of a picture it is an instance normalization, else a layer normalization. */
function centred(graph: Graph, nodes: readonly GraphNode[], root: string): string {
  const mean = nodes.find((node) => isReduction(node.op, node.domain))!;
  const axes = graph.value(mean.inputs[1]) ?? mean.attributes.axes;
  const rank = graph.shape(root)?.length ?? 0;
  const spatial =
    Array.isArray(axes) &&
    rank > 2 &&
    axes.length === rank - 2 &&
    !axes.some((axis) => [0, 1].includes(Number(axis)));
  return spatial && rank === 4 ? 'InstanceNormalization' : 'LayerNormalization';
}
