/** Which part of a device computes a kernel. */
export type Unit =
  /** The matrix unit: convolutions, fully connected layers, matrix products. */
  | 'matrix'
  /** A convolution of each channel by itself, which a matrix unit fills badly. */
  | 'depthwise'
  /** The vector unit: sums, pooling, functions of each element, normalizations. */
  | 'vector'
  /** Copies values to other places. */
  | 'mover'
  /** Nothing: another view of the same bytes. */
  | 'free'
  /** The processor beside the accelerator. */
  | 'host';

/**
 * A layer as products of matrices: for each of `groups`, and each of `taps` positions of the window, an m×k matrix of
 * activations by a k×n matrix of weights. A convolution has one row an output pixel and one column an output channel.
 */
export interface Product {
  m: number;
  k: number;
  n: number;
  taps: number;
  groups: number;
}

/** What a device runs as one piece of work: a layer with everything that is computed before its result is stored. */
export interface Kernel {
  /** Of its first node. */
  name: string;
  /** Names of its nodes; a precision given for any of them is the kernel's. */
  nodes: readonly string[];
  /** Operator that gives it its character: 'Conv', 'Add', 'MaxPool', … */
  op: string;
  /** Kind of group as quantization plans it ('conv', 'gemm', 'add', 'pool', …): says whether a target has an integer form. */
  kind: string;
  unit: Unit;
  product: Product | null;
  /** Elements of its constant operands. */
  weights: number;
  /** Work of the vector unit: elements times the passes over each; and the tensor that they are elements of. */
  vector: number;
  over: string;
  /** Tensors read from and written to memory. */
  reads: readonly string[];
  writes: readonly string[];
  /** The operator is not known: what stands here is a guess. */
  guessed: boolean;
}

/** Multiplications and additions of a kernel's layer. */
export const macs = ({ product }: Kernel): number =>
  product ? product.m * product.k * product.n * product.taps * product.groups : 0;

/** Sizes of a tensor, and the axis that counts channels. */
export interface TensorSize {
  shape: readonly number[];
  elements: number;
  channelAxis: number;
}
