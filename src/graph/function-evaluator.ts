import type { GraphNode } from '../config/graph.js';
import type { Graph } from './graph.js';

/** What stands for constants that graph.json does not spell out and that differ from channel to channel. */
const UNKNOWN = 0.3;

/**
 * Evaluates nodes that compute a function of one tensor, on a vector of sample values that takes the tensor's place;
 * reductions run over the whole vector. This is for telling which function it is, not for results.
 *
 * @param nodes in graph order
 * @returns one value a sample, or null when a node cannot be evaluated
 */
export function evaluateFunction(
  graph: Graph,
  nodes: readonly GraphNode[],
  root: string,
  samples: readonly number[],
): number[] | null {
  const values = new Map<string, readonly number[]>([[root, samples]]);
  const read = (tensor: string): readonly number[] => values.get(tensor) ?? [constantValue(graph, tensor)];
  for (const node of nodes) {
    const operands = node.inputs.filter((input) => input !== '').map(read);
    const result = reduce(node, operands[0]!) ?? mapElements(graph, node, operands);
    if (!result) return null;
    values.set(node.outputs[0]!, result);
  }
  const result = values.get(nodes.at(-1)!.outputs[0]!)!;
  return result.length === samples.length ? [...result] : null;
}

/** The value of a constant that is the same everywhere. */
function constantValue(graph: Graph, tensor: string): number {
  const elements = graph.value(tensor);
  const [first, ...others] = elements ?? [];
  return first !== undefined && others.every((value) => value === first) ? first : UNKNOWN;
}

function reduce({ op }: GraphNode, vector: readonly number[]): number[] | null {
  switch (op) {
    case 'ReduceMean':
      return [vector.reduce((a, b) => a + b, 0) / vector.length];
    case 'ReduceSum':
      return [vector.reduce((a, b) => a + b, 0)];
    case 'ReduceMax':
      return [Math.max(...vector)];
    default:
      return null;
  }
}

function mapElements(
  graph: Graph,
  node: GraphNode,
  operands: readonly (readonly number[])[],
): number[] | null {
  const f = elementFunction(graph, node);
  if (!f) return null;
  const [only, ...others] = operands;
  if (only && others.length === 0) return only.map((value) => f(value));
  const length = Math.max(...operands.map((operand) => operand.length));
  const at = (operand: readonly number[], i: number): number => operand[operand.length === 1 ? 0 : i]!;
  return Array.from({ length }, (_, i) => f(...operands.map((operand) => at(operand, i))));
}

type ElementFunction = (...operands: number[]) => number;

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const softplus = (x: number): number => Math.log1p(Math.exp(x));

/** Operators without attributes. */
const ELEMENT_FUNCTIONS: ReadonlyMap<string, ElementFunction> = new Map<string, ElementFunction>([
  ['Abs', Math.abs],
  ['Add', (a, b) => a + b!],
  ['Ceil', Math.ceil],
  ['Cos', Math.cos],
  ['Div', (a, b) => a / b!],
  ['Erf', erf],
  ['Exp', Math.exp],
  ['Floor', Math.floor],
  ['HardSwish', (x) => x * clamp(x / 6 + 0.5, 0, 1)],
  ['Log', Math.log],
  ['Max', Math.max],
  ['Min', Math.min],
  ['Mish', (x) => x * Math.tanh(softplus(x))],
  ['Mul', (a, b) => a * b!],
  ['Neg', (x) => -x],
  ['PRelu', (x, slope) => (x < 0 ? slope! * x : x)],
  ['Pow', (a, b) => a ** b!],
  ['Reciprocal', (x) => 1 / x],
  ['Relu', (x) => Math.max(0, x)],
  ['Round', Math.round],
  ['Sigmoid', sigmoid],
  ['Sign', Math.sign],
  ['Sin', Math.sin],
  ['Softplus', softplus],
  ['Softsign', (x) => x / (1 + Math.abs(x))],
  ['Sqrt', Math.sqrt],
  ['Sub', (a, b) => a - b!],
  ['Sum', (...all) => all.reduce((a, b) => a + b, 0)],
  ['Tanh', Math.tanh],
  // With constant parameters: some gain and some offset.
  ['BatchNormalization', (x) => 0.7 * x + UNKNOWN],
]);

function elementFunction(graph: Graph, node: GraphNode): ElementFunction | null {
  const attribute = (name: string, otherwise: number): number => Number(node.attributes[name] ?? otherwise);
  switch (node.op) {
    case 'Clip': {
      const bound = (index: number, name: string, otherwise: number): number =>
        node.inputs[index] ? constantValue(graph, node.inputs[index]) : attribute(name, otherwise);
      const low = bound(1, 'min', Number.NEGATIVE_INFINITY);
      const high = bound(2, 'max', Number.POSITIVE_INFINITY);
      return (x) => clamp(x, low, high);
    }
    case 'LeakyRelu': {
      const alpha = attribute('alpha', 0.01);
      return (x) => (x < 0 ? alpha * x : x);
    }
    case 'Elu':
    case 'Celu': {
      const alpha = attribute('alpha', 1);
      const width = node.op === 'Celu' ? alpha : 1;
      return (x) => (x < 0 ? alpha * Math.expm1(x / width) : x);
    }
    case 'Selu': {
      const alpha = attribute('alpha', 1.6732632);
      const gamma = attribute('gamma', 1.050701);
      return (x) => gamma * (x < 0 ? alpha * Math.expm1(x) : x);
    }
    case 'ThresholdedRelu': {
      const alpha = attribute('alpha', 1);
      return (x) => (x > alpha ? x : 0);
    }
    case 'HardSigmoid': {
      const alpha = attribute('alpha', 0.2);
      const beta = attribute('beta', 0.5);
      return (x) => clamp(alpha * x + beta, 0, 1);
    }
    case 'Gelu':
      return gelu;
    default:
      return ELEMENT_FUNCTIONS.get(node.op) ?? null;
  }
}

export const clamp = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x));

/** x·Φ(x); the spelling by tanh differs from it by less than 5e-4. */
export const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));

/** Error function, to 1.5e-7 (Abramowitz and Stegun, 7.1.26). */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const polynomial =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - polynomial * Math.exp(-x * x));
}
