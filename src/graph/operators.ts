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
  /** Normalizes over an axis; computed in float between quantized tensors. */
  | 'normalization'
  /** Known, but computed in float: results of a search, sort or selection. */
  | 'selection'
  /** Runs subgraphs. */
  | 'control';

const ROLES: Record<OperatorRole, readonly string[]> = {
  weighted: ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'],
  arithmetic: ['Add', 'Mul', 'Sub'],
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
    'Shape',
    'Size',
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
    'Sum',
    'Mean',
    'LSTM',
    'GRU',
    'RNN',
  ],
  control: ['If', 'Loop', 'Scan'],
};

const TABLE = new Map<string, OperatorRole>(
  Object.entries(ROLES).flatMap(([role, ops]) => ops.map((op) => [op, role as OperatorRole] as const)),
);

/** The role of an operator of the default domain; undefined when dopt does not know it. */
export function operatorRole(op: string, domain: string): OperatorRole | undefined {
  return domain === '' || domain === 'ai.onnx' ? TABLE.get(op) : undefined;
}

/** Results with a range that the function itself bounds. */
export const FIXED_RANGES: ReadonlyMap<string, { low: number; high: number }> = new Map([
  ['Sigmoid', { low: 0, high: 1 }],
  ['HardSigmoid', { low: 0, high: 1 }],
  ['Softmax', { low: 0, high: 1 }],
  ['Tanh', { low: -1, high: 1 }],
  ['Softsign', { low: -1, high: 1 }],
]);

/** Operators that may be part of a function of one tensor (see fusion.ts), element by element. */
export function isElementwise(op: string, domain: string): boolean {
  const role = operatorRole(op, domain);
  return role === 'elementwise' || role === 'arithmetic';
}
