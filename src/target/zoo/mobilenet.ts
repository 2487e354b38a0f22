import type { GraphFile } from '../../config/graph.js';
import { type Activation, NetworkBuilder, type Tensor } from './builder.js';

/** Channels times a width multiplier, to the nearest multiple of 8 that loses no more than a tenth. */
export function scaled(channels: number, width: number): number {
  const wanted = channels * width;
  const rounded = Math.max(8, Math.floor((wanted + 4) / 8) * 8);
  return rounded < 0.9 * wanted ? rounded + 8 : rounded;
}

/** MobileNetV1: Howard et al., "MobileNets", 2017, table 1. */
export function mobilenetV1(): GraphFile {
  const net = new NetworkBuilder('mobilenet-v1', [1, 3, 224, 224]);
  const layers: [channels: number, stride: number][] = [
    [64, 1],
    [128, 2],
    [128, 1],
    [256, 2],
    [256, 1],
    [512, 2],
    ...Array.from({ length: 5 }, (): [number, number] => [512, 1]),
    [1024, 2],
    [1024, 1],
  ];
  let x = net.conv(net.input, 32, 3, { stride: 2, activation: 'Relu6' });
  for (const [channels, stride] of layers) {
    x = net.depthwise(x, 3, { stride, activation: 'Relu6' });
    x = net.conv(x, channels, 1, { activation: 'Relu6' });
  }
  return net.finish(net.softmax(net.linear(net.globalAveragePool(x), 1000)));
}

export interface InvertedResidual {
  kernel?: number;
  /** Width of the inner layers. */
  expanded: number;
  channels: number;
  stride: number;
  dilation?: number;
  /** Width of the squeeze layer of a squeeze-and-excitation part; none without it. */
  squeezed?: number;
  activation?: Activation;
}

/** What a block computes, and the wide map inside it. */
export interface Block {
  output: Tensor;
  expansion: Tensor;
}

/** Expansion, depthwise convolution, projection, and the shortcut where shapes allow it. */
export function invertedResidual(net: NetworkBuilder, x: Tensor, block: InvertedResidual): Block {
  const { kernel = 3, expanded, channels, stride, dilation = 1, squeezed, activation = 'Relu6' } = block;
  const expansion = expanded === x.shape[1] ? x : net.conv(x, expanded, 1, { activation });
  let y = net.depthwise(expansion, kernel, { stride, dilation, activation });
  if (squeezed !== undefined) {
    const gate = net.conv(net.globalAveragePool(y), squeezed, 1, { activation: 'Relu' });
    y = net.product(y, net.conv(gate, expanded, 1, { activation: 'HardSigmoid' }));
  }
  y = net.conv(y, channels, 1, { activation: null });
  return { output: stride === 1 && x.shape[1] === channels ? net.sum(x, y) : y, expansion };
}

/** Rows of table 2 of the MobileNetV2 paper: expansion, channels, repeats, stride. */
const V2: readonly (readonly [number, number, number, number])[] = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
];

/**
 * The seventeen blocks of MobileNetV2 with the layer before them.
 * @param outputStride where the map is this much smaller than the picture strides become dilations
 */
export function mobilenetV2Blocks(net: NetworkBuilder, width = 1, outputStride = 32): Block[] {
  let x = net.conv(net.input, scaled(32, width), 3, { stride: 2, activation: 'Relu6' });
  const blocks: Block[] = [];
  let reached = 2;
  let dilation = 1;
  for (const [expansion, channels, repeats, first] of V2) {
    for (let i = 0; i < repeats; i++) {
      const wanted = i === 0 ? first : 1;
      const stride = reached * wanted > outputStride ? 1 : wanted;
      const block = invertedResidual(net, x, {
        expanded: expansion * x.shape[1]!,
        channels: scaled(channels, width),
        stride,
        dilation,
      });
      reached *= stride;
      if (stride < wanted) dilation *= wanted;
      blocks.push(block);
      x = block.output;
    }
  }
  return blocks;
}

/** MobileNetV2: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, table 2. */
export function mobilenetV2(width = 1): GraphFile {
  const net = new NetworkBuilder(width === 1 ? 'mobilenet-v2' : `mobilenet-v2-${width}`, [1, 3, 224, 224]);
  const blocks = mobilenetV2Blocks(net, width);
  const x = net.conv(blocks.at(-1)!.output, scaled(1280, Math.max(1, width)), 1, { activation: 'Relu6' });
  return net.finish(net.softmax(net.linear(net.globalAveragePool(x), 1000)));
}

/** Rows of table 1 of the MobileNetV3 paper: kernel, expanded, channels, squeeze-and-excitation, hard swish, stride. */
const V3_LARGE: readonly (readonly [number, number, number, boolean, boolean, number])[] = [
  [3, 16, 16, false, false, 1],
  [3, 64, 24, false, false, 2],
  [3, 72, 24, false, false, 1],
  [5, 72, 40, true, false, 2],
  [5, 120, 40, true, false, 1],
  [5, 120, 40, true, false, 1],
  [3, 240, 80, false, true, 2],
  [3, 200, 80, false, true, 1],
  [3, 184, 80, false, true, 1],
  [3, 184, 80, false, true, 1],
  [3, 480, 112, true, true, 1],
  [3, 672, 112, true, true, 1],
  [5, 672, 160, true, true, 2],
  [5, 960, 160, true, true, 1],
  [5, 960, 160, true, true, 1],
];

/** MobileNetV3-Large: Howard et al., "Searching for MobileNetV3", 2019, table 1. */
export function mobilenetV3Large(): GraphFile {
  const net = new NetworkBuilder('mobilenet-v3-large', [1, 3, 224, 224]);
  let x = net.conv(net.input, 16, 3, { stride: 2, activation: 'HardSwish' });
  for (const [kernel, expanded, channels, squeezes, hardSwish, stride] of V3_LARGE)
    x = invertedResidual(net, x, {
      kernel,
      expanded,
      channels,
      stride,
      activation: hardSwish ? 'HardSwish' : 'Relu',
      ...(squeezes && { squeezed: scaled(expanded / 4, 1) }),
    }).output;
  x = net.globalAveragePool(net.conv(x, 960, 1, { activation: 'HardSwish' }));
  x = net.conv(x, 1280, 1, { activation: 'HardSwish' });
  return net.finish(net.softmax(net.linear(x, 1000)));
}
