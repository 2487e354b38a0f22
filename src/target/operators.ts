import type { GraphNode } from '../config/graph.js';
import type { Unit } from './kernel.js';

/** How an operator without weights runs: on which unit, and how often the vector unit passes over each element. */
export interface OperatorCost {
  unit: Extract<Unit, 'vector' | 'mover' | 'free' | 'host'>;
  /** Passes over each element of `over`. */
  passes: number;
  over: 'output' | 'input';
}

const vector = (passes: number, over: OperatorCost['over'] = 'output'): OperatorCost => ({
  unit: 'vector',
  passes,
  over,
});
const MOVER: OperatorCost = { unit: 'mover', passes: 0, over: 'output' };
const FREE: OperatorCost = { unit: 'free', passes: 0, over: 'output' };

/** Vector instructions that a function of each element takes; division, roots and exponentials come as short series. */
const FUNCTION_PASSES: Record<string, number> = {
  Relu: 1,
  Relu6: 2,
  Clip: 2,
  Abs: 1,
  Neg: 1,
  LeakyRelu: 2,
  PRelu: 2,
  HardSigmoid: 3,
  HardSwish: 4,
  Sigmoid: 6,
  SiLU: 7,
  Tanh: 7,
  Softplus: 8,
  Softsign: 6,
  Elu: 7,
  Selu: 8,
  Celu: 8,
  Mish: 14,
  GELU: 10,
  Erf: 10,
  Exp: 4,
  Log: 5,
  Sqrt: 4,
  Reciprocal: 4,
  Div: 5,
  Pow: 10,
  Sin: 10,
  Cos: 10,
};

const COSTS: Record<string, OperatorCost> = {
  ...Object.fromEntries(Object.entries(FUNCTION_PASSES).map(([op, passes]) => [op, vector(passes)])),
  ...Object.fromEntries(
    [
      ...[
        'Add',
        'Sub',
        'Mul',
        'Sum',
        'Min',
        'Max',
        'Mean',
        'Floor',
        'Ceil',
        'Round',
        'Sign',
        'Cast',
        'CastLike',
      ],
      ...[
        'Equal',
        'Greater',
        'GreaterOrEqual',
        'Less',
        'LessOrEqual',
        'Not',
        'And',
        'Or',
        'Xor',
        'IsNaN',
        'Mod',
      ],
      ...['Where', 'Trilu'],
    ].map((op) => [op, vector(1)]),
  ),
  BatchNormalization: vector(2),
  LayerNormalization: vector(8),
  GroupNormalization: vector(8),
  InstanceNormalization: vector(8),
  MeanVarianceNormalization: vector(8),
  LpNormalization: vector(6),
  // A window of squares summed over channels, then a power.
  LRN: vector(16),
  Softmax: vector(8),
  LogSoftmax: vector(10),
  Resize: vector(8),
  Upsample: vector(8),
  GridSample: vector(16),
  RoiAlign: vector(16),
  ...Object.fromEntries(
    [
      ...[
        'GlobalAveragePool',
        'GlobalMaxPool',
        'ReduceMean',
        'ReduceSum',
        'ReduceMax',
        'ReduceMin',
        'ReduceProd',
      ],
      ...['ReduceL1', 'ReduceL2', 'ReduceSumSquare', 'ReduceLogSumExp', 'CumSum'],
    ].map((op) => [op, vector(1, 'input')]),
  ),
  // Compared, and the place kept with the value.
  ArgMax: vector(4, 'input'),
  ArgMin: vector(4, 'input'),
  ...Object.fromEntries(
    [
      ...['Transpose', 'Slice', 'Split', 'Concat', 'Gather', 'GatherElements', 'GatherND', 'ScatterElements'],
      ...['ScatterND', 'DepthToSpace', 'SpaceToDepth', 'Pad', 'Expand', 'Tile', 'OneHot', 'ReverseSequence'],
      ...['Compress'],
    ].map((op) => [op, MOVER]),
  ),
  ...Object.fromEntries(
    [
      ...['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Identity', 'Dropout'],
      ...['Shape', 'Size', 'Range', 'ConstantOfShape', 'EyeLike'],
    ].map((op) => [op, FREE]),
  ),
};

/** Operators that no accelerator of the profiles runs: their results have sizes that depend on values, or they run graphs. */
const HOST: ReadonlySet<string> = new Set([
  ...['NonMaxSuppression', 'NonZero', 'Unique', 'TopK'],
  ...['If', 'Loop', 'Scan', 'LSTM', 'GRU', 'RNN'],
]);

/** How an operator runs; null for one that is not known. */
export function operatorCost({ op, domain, attributes }: GraphNode): OperatorCost | null {
  if (domain !== '' && domain !== 'ai.onnx') return null;
  if (HOST.has(op)) return { unit: 'host', passes: 8, over: 'input' };
  if (op === 'MaxPool' || op === 'AveragePool') {
    const kernel = Array.isArray(attributes.kernel_shape) ? attributes.kernel_shape.map(Number) : [1];
    return vector(kernel.reduce((a, b) => a * b, 1));
  }
  return COSTS[op] ?? null;
}

/** Passes over each element of the function that a group of nodes computes, unless the device's own are known. */
export const functionPasses = (name: string | null, known: Readonly<Record<string, number>> = {}): number =>
  name === null ? 2 : (known[name] ?? FUNCTION_PASSES[name] ?? 8);
