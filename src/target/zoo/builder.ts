import type { Attribute, GraphFile, GraphNode, Initializer, TensorType } from '../../config/graph.js';

/** A feature map: its name in the graph and its sizes, channels before height and width. */
export interface Tensor {
  name: string;
  shape: readonly number[];
}

/** Zeros around the map: 'same' makes the output ⌈size / stride⌉, 'valid' adds none, a number adds as many on each side. */
export type Padding = 'same' | 'valid' | number;

type Pair = number | readonly [height: number, width: number];

export interface WindowOptions {
  stride?: number;
  padding?: Padding;
  dilation?: number;
  /** Sizes round up where the last window does not fit, as Caffe does. */
  ceil?: boolean;
}

export interface ConvOptions extends WindowOptions {
  groups?: number;
  /** ONNX operator put behind the layer, or one of the functions ONNX has no operator for. */
  activation?: Activation | null;
}

export type Activation =
  | 'Relu'
  | 'Relu6'
  | 'HardSwish'
  | 'SiLU'
  | 'Sigmoid'
  | 'HardSigmoid'
  | 'PRelu'
  | 'LeakyRelu';

/**
 * Builds a network of shapes, layer by layer, as a graph.json without weights.
 *
 * Batch normalization is not written: it is folded into the layer before it on every device. Node names are the operator
 * with a running number, so that the same calls give the same file.
 */
export class NetworkBuilder {
  readonly input: Tensor;
  private readonly nodes: GraphNode[] = [];
  private readonly initializers: Initializer[] = [];
  private readonly tensors: Record<string, TensorType> = {};
  private readonly counts = new Map<string, number>();

  constructor(
    readonly name: string,
    inputShape: readonly number[],
  ) {
    this.input = { name: 'input', shape: [...inputShape] };
  }

  /** A convolution with bias. */
  conv(x: Tensor, channels: number, kernel: Pair, options: ConvOptions = {}): Tensor {
    const { stride = 1, dilation = 1, groups = 1, activation = 'Relu' } = options;
    const [kh, kw] = pair(kernel);
    const [batch, cin, height, width] = x.shape as [number, number, number, number];
    const h = windows(height, kh, { ...options, ceil: false });
    const w = windows(width, kw, { ...options, ceil: false });
    const y = this.add(
      'Conv',
      [x],
      [batch, channels, h.size, w.size],
      {
        kernel_shape: [kh, kw],
        strides: [stride, stride],
        dilations: [dilation, dilation],
        group: groups,
        pads: [h.before, w.before, h.after, w.after],
      },
      { weight: floats(channels, cin / groups, kh, kw), bias: floats(channels) },
    );
    return this.activate(y, activation);
  }

  /** A convolution of each channel by itself. */
  depthwise(x: Tensor, kernel: Pair, options: ConvOptions = {}): Tensor {
    return this.conv(x, x.shape[1]!, kernel, { ...options, groups: x.shape[1]! });
  }

  /** A transposed convolution whose output is `stride` times as large, plus `extra`. */
  deconv(
    x: Tensor,
    channels: number,
    kernel: number,
    stride: number,
    { padding = 0, extra = 0, activation = null as Activation | null } = {},
  ): Tensor {
    const [batch, cin, height, width] = x.shape as [number, number, number, number];
    const size = (length: number): number => (length - 1) * stride + kernel - 2 * padding + extra;
    const y = this.add(
      'ConvTranspose',
      [x],
      [batch, channels, size(height), size(width)],
      {
        kernel_shape: [kernel, kernel],
        strides: [stride, stride],
        pads: [padding, padding, padding, padding],
        output_padding: [extra, extra],
      },
      { weight: floats(cin, channels, kernel, kernel), bias: floats(channels) },
    );
    return this.activate(y, activation);
  }

  /** A fully connected layer on a flat vector. */
  linear(x: Tensor, features: number, activation: Activation | null = null): Tensor {
    const flat = x.shape.length === 2 ? x : this.flatten(x);
    const [batch, inputs] = flat.shape as [number, number];
    const weights = { weight: floats(features, inputs), bias: floats(features) };
    return this.activate(this.add('Gemm', [flat], [batch, features], { transB: 1 }, weights), activation);
  }

  maxPool(x: Tensor, kernel: number, options: WindowOptions = {}): Tensor {
    return this.pool('MaxPool', x, kernel, options);
  }

  averagePool(x: Tensor, kernel: number, options: WindowOptions = {}): Tensor {
    return this.pool('AveragePool', x, kernel, options);
  }

  globalAveragePool(x: Tensor): Tensor {
    return this.add('GlobalAveragePool', [x], [x.shape[0]!, x.shape[1]!, 1, 1]);
  }

  flatten(x: Tensor): Tensor {
    const [batch = 1, ...rest] = x.shape;
    return this.add('Flatten', [x], [batch, product(rest)], { axis: 1 });
  }

  softmax(x: Tensor, axis = 1): Tensor {
    return this.add('Softmax', [x], x.shape, { axis });
  }

  /** Local response normalization over `size` channels. */
  lrn(x: Tensor, size: number): Tensor {
    return this.add('LRN', [x], x.shape, { size, alpha: 1e-4, beta: 0.75 });
  }

  /** The channel with the largest value. */
  argMax(x: Tensor): Tensor {
    const shape = x.shape.map((size, axis) => (axis === 1 ? 1 : size));
    return this.add('ArgMax', [x], shape, { axis: 1 });
  }

  /** Element-wise sum; the second map may be spread over the first. */
  sum(a: Tensor, b: Tensor, activation: Activation | null = null): Tensor {
    return this.activate(this.add('Add', [a, b], a.shape), activation);
  }

  /** Element-wise product; the second map may be spread over the first. */
  product(a: Tensor, b: Tensor): Tensor {
    return this.add('Mul', [a, b], a.shape);
  }

  /** A map of zeros, known when the network is compiled. */
  zeros(shape: readonly number[]): Tensor {
    const zeros = { name: `zeros_${this.initializers.length}`, shape: [...shape] };
    this.initializers.push({ ...zeros, dtype: 'float32' });
    return zeros;
  }

  /** A product with a constant. */
  scale(x: Tensor, factor: number): Tensor {
    return this.add('Mul', [x], x.shape, {}, { factor: { shape: [], value: [factor] } });
  }

  concat(parts: readonly Tensor[], axis = 1): Tensor {
    const shape = [...parts[0]!.shape];
    shape[axis] = parts.reduce((total, part) => total + part.shape[axis]!, 0);
    return this.add('Concat', parts, shape, { axis });
  }

  /** Interpolates to a size. */
  resize(x: Tensor, height: number, width: number, mode: 'linear' | 'nearest' = 'linear'): Tensor {
    const shape = [x.shape[0]!, x.shape[1]!, height, width];
    return this.add('Resize', [x, OMITTED, OMITTED], shape, { mode }, { sizes: integers(shape) });
  }

  /** Cuts a map to a size. */
  crop(x: Tensor, height: number, width: number): Tensor {
    return this.add(
      'Slice',
      [x],
      [x.shape[0]!, x.shape[1]!, height, width],
      {},
      {
        starts: integers([0, 0]),
        ends: integers([height, width]),
        axes: integers([2, 3]),
      },
    );
  }

  reshape(x: Tensor, shape: readonly number[]): Tensor {
    return this.add('Reshape', [x], shape, {}, { shape: integers(shape) });
  }

  transpose(x: Tensor, order: readonly number[]): Tensor {
    return this.add(
      'Transpose',
      [x],
      order.map((axis) => x.shape[axis]!),
      { perm: [...order] },
    );
  }

  /** An activation function; the spelled-out ones are written as exporters do. */
  activate(x: Tensor, activation: Activation | null): Tensor {
    switch (activation) {
      case null:
        return x;
      case 'Relu6':
        return this.add(
          'Clip',
          [x],
          x.shape,
          {},
          { min: { shape: [], value: [0] }, max: { shape: [], value: [6] } },
        );
      case 'SiLU':
        return this.product(x, this.add('Sigmoid', [x], x.shape));
      case 'PRelu':
        return this.add('PRelu', [x], x.shape, {}, { slope: floats(x.shape[1]!, 1, 1) });
      default:
        return this.add(activation, [x], x.shape);
    }
  }

  /** The file of the network with these outputs. */
  finish(...outputs: Tensor[]): GraphFile {
    const ends = new Set(outputs.map(({ name }) => name));
    const value = ({ name, shape }: Tensor) => ({ name, dtype: 'float32' as const, shape: [...shape] });
    return {
      version: 1,
      name: this.name,
      irVersion: 8,
      opset: { '': 18 },
      inputs: [value(this.input)],
      outputs: outputs.map(value),
      initializers: this.initializers,
      nodes: this.nodes,
      tensors: Object.fromEntries(Object.entries(this.tensors).filter(([name]) => !ends.has(name))),
    };
  }

  private pool(op: string, x: Tensor, kernel: number, options: WindowOptions): Tensor {
    const { stride = 1 } = options;
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    const [h, w] = [windows(height, kernel, options), windows(width, kernel, options)];
    return this.add(op, [x], [batch, channels, h.size, w.size], {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads: [h.before, w.before, h.after, w.after],
      ceil_mode: options.ceil ? 1 : 0,
    });
  }

  private add(
    op: string,
    inputs: readonly Tensor[],
    shape: readonly number[],
    attributes: Record<string, Attribute> = {},
    constants: Record<string, Constant> = {},
  ): Tensor {
    const number = (this.counts.get(op) ?? 0) + 1;
    this.counts.set(op, number);
    const name = `${op.toLowerCase()}_${number}`;
    const initializers = Object.entries(constants).map(
      ([role, constant]): Initializer => ({ name: `${name}.${role}`, dtype: 'float32', ...constant }),
    );
    this.initializers.push(...initializers);
    this.nodes.push({
      name,
      op,
      domain: '',
      inputs: [...inputs, ...initializers].map((input) => input.name),
      outputs: [`${name}.out`],
      attributes,
    });
    const output = { name: `${name}.out`, shape: [...shape] };
    this.tensors[output.name] = { dtype: 'float32', shape: output.shape };
    return output;
  }
}

type Constant = Partial<Omit<Initializer, 'name'>> & Pick<Initializer, 'shape'>;

const OMITTED: Tensor = { name: '', shape: [] };
const floats = (...shape: number[]): Constant => ({ shape });
const integers = (value: readonly number[]): Constant => ({
  dtype: 'int64',
  shape: [value.length],
  value: [...value],
});

const pair = (size: Pair): readonly [number, number] => (typeof size === 'number' ? [size, size] : size);
const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

/** How many windows fit along one side, and the zeros before and after it. */
function windows(
  size: number,
  kernel: number,
  { stride = 1, padding = 'same', dilation = 1, ceil = false }: WindowOptions,
): { size: number; before: number; after: number } {
  const span = (kernel - 1) * dilation + 1;
  if (padding === 'same') {
    const count = Math.ceil(size / stride);
    const total = Math.max(0, (count - 1) * stride + span - size);
    const before = Math.floor(total / 2);
    return { size: count, before, after: total - before };
  }
  const side = padding === 'valid' ? 0 : padding;
  const steps = (size + 2 * side - span) / stride;
  const count = (ceil ? Math.ceil(steps) : Math.floor(steps)) + 1;
  return { size: count, before: side, after: side };
}
