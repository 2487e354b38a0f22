import type { GraphNode } from '../config/graph.js';

/**
 * What dopt knows of ONNX operators, in one table. An operator that is not here stays float and is reported.
 */
export type OperatorRole =
  /** Multiplies with weights or with another activation; the reason for quantizing at all. */
  | 'weighted'
  /** Adds or multiplies two activations. */
  | 'arithmetic'
  /** Averages values. */
  | 'pool'
  /** Interpolates between values. */
  | 'resample'
  | 'concat'
  /** Moves or selects values without computing new ones: the result has the parameters of the source. */
  | 'pass-through'
  /** A function of each element alone; with one input and constants it can be fused behind another operator. */
  | 'elementwise'
  /** Normalizes or reduces over an axis; computed in float between quantized tensors. */
  | 'normalization'
  /** Keeps a state over a sequence; its weights stay float. */
  | 'recurrent'
  /** Compares, searches, sorts, picks or scatters; computed in float. */
  | 'selection'
  /** Yields the shape of a tensor. */
  | 'shape'
  /** Runs subgraphs. */
  | 'control';

const ROLES: Record<OperatorRole, readonly string[]> = {
  weighted: ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'],
  arithmetic: ['Add', 'Mul', 'Sub', 'Sum'],
  pool: ['AveragePool', 'GlobalAveragePool', 'ReduceMean'],
  resample: ['Resize', 'Upsample'],
  concat: ['Concat'],
  'pass-through': [
    'MaxPool',
    'GlobalMaxPool',
    'ReduceMax',
    'ReduceMin',
    'Reshape',
    'Flatten',
    'Squeeze',
    'Unsqueeze',
    'Transpose',
    'Slice',
    'Split',
    'Gather',
    'DepthToSpace',
    'SpaceToDepth',
    'Pad',
    'Expand',
    'Tile',
    'Identity',
    'Dropout',
  ],
  elementwise: [
    'Relu',
    'Clip',
    'LeakyRelu',
    'PRelu',
    'Elu',
    'Selu',
    'Celu',
    'ThresholdedRelu',
    'Sigmoid',
    'HardSigmoid',
    'Tanh',
    'HardSwish',
    'Softplus',
    'Softsign',
    'Mish',
    'Gelu',
    'Erf',
    'Exp',
    'Log',
    'Abs',
    'Neg',
    'Sqrt',
    'Reciprocal',
    'Pow',
    'Div',
    'Min',
    'Max',
    'Floor',
    'Ceil',
    'Round',
    'Sin',
    'Cos',
    'Sign',
  ],
  normalization: [
    'BatchNormalization',
    'LayerNormalization',
    'InstanceNormalization',
    'GroupNormalization',
    'LpNormalization',
    'MeanVarianceNormalization',
    'LRN',
    'Softmax',
    'LogSoftmax',
    'ReduceSum',
    'ReduceSumSquare',
    'ReduceL1',
    'ReduceL2',
    'ReduceLogSumExp',
    'ReduceProd',
    'CumSum',
    'Einsum',
  ],
  selection: [
    'NonMaxSuppression',
    'TopK',
    'ArgMax',
    'ArgMin',
    'GatherElements',
    'GatherND',
    'ScatterElements',
    'ScatterND',
    'Where',
    'NonZero',
    'RoiAlign',
    'GridSample',
    'OneHot',
    'Cast',
    'CastLike',
    'Range',
    'ConstantOfShape',
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
    'Trilu',
    'Mod',
    'Unique',
    'Compress',
    'ReverseSequence',
    'EyeLike',
    'Mean',
  ],
  recurrent: ['LSTM', 'GRU', 'RNN'],
  shape: ['Shape', 'Size'],
  control: ['If', 'Loop', 'Scan'],
};

const TABLE = new Map<string, OperatorRole>(
  Object.entries(ROLES).flatMap(([role, ops]) => ops.map((op) => [op, role as OperatorRole] as const)),
);

/** The role of an operator of the default domain; undefined when dopt does not know it. */
export function operatorRole(op: string, domain: string): OperatorRole | undefined {
  return domain === '' || domain === 'ai.onnx' ? TABLE.get(op) : undefined;
}

/** Bounds that a function itself sets to its results, by the name that function-name.ts gives it. */
export const FIXED_RANGES: ReadonlyMap<string, { low: number; high: number }> = new Map([
  ['Sigmoid', { low: 0, high: 1 }],
  ['HardSigmoid', { low: 0, high: 1 }],
  ['Softmax', { low: 0, high: 1 }],
  ['Tanh', { low: -1, high: 1 }],
  ['Softsign', { low: -1, high: 1 }],
]);

/**
 * Indices of the inputs that carry the values an operator computes with: what an integer kernel reads quantized. Biases
 * are added in the accumulator; indices, sizes, bounds and scales of a Resize are no values.
 */
export function valueInputs(node: GraphNode): number[] {
  switch (operatorRole(node.op, node.domain)) {
    case 'weighted':
      return [0, 1];
    case 'arithmetic':
    case 'concat':
    case 'elementwise':
      return node.inputs.map((_, index) => index);
    default:
      return [0];
  }
}

/** Reductions that normalizations written out are made of. */
const REDUCTIONS: ReadonlySet<string> = new Set(['ReduceMean', 'ReduceSum', 'ReduceMax']);

/** Whether an operator may be part of a function of each element (see fusion.ts). */
export function isElementwise(op: string, domain: string): boolean {
  const role = operatorRole(op, domain);
  return role === 'elementwise' || role === 'arithmetic';
}

/** Whether an operator may be part of a normalization written out, beside element-wise ones. */
export function isReduction(op: string, domain: string): boolean {
  return operatorRole(op, domain) !== undefined && REDUCTIONS.has(op);
}

/** Operators whose first result is of integers or truth values, for graphs whose shape inference stopped. */
const INTEGER_RESULTS: ReadonlySet<string> = new Set([
  ...['Shape', 'Size', 'NonZero', 'ArgMax', 'ArgMin', 'NonMaxSuppression'],
  ...['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Not', 'And', 'Or', 'Xor', 'IsNaN'],
]);

/** TensorProto.DataType of float32, the target of a Cast. */
const FLOAT32 = 1;

/** Whether a node that reads float32 yields float32, when nothing else is known. */
export function keepsFloat(node: GraphNode): boolean {
  if (node.op === 'Cast') return Number(node.attributes.to) === FLOAT32;
  return !INTEGER_RESULTS.has(node.op);
}
