import type { GraphFile } from '../../config/graph.js';
import { NetworkBuilder, type Tensor } from './builder.js';

/**
 * AlexNet: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
 * section 3.5, with the two halves of the network as groups; 227 pixels, which is what its arithmetic needs.
 */
export function alexnet(): GraphFile {
  const net = new NetworkBuilder('alexnet', [1, 3, 227, 227]);
  let x = net.conv(net.input, 96, 11, { stride: 4, padding: 'valid' });
  x = net.maxPool(net.lrn(x, 5), 3, { stride: 2, padding: 'valid' });
  x = net.conv(x, 256, 5, { groups: 2 });
  x = net.maxPool(net.lrn(x, 5), 3, { stride: 2, padding: 'valid' });
  x = net.conv(x, 384, 3);
  x = net.conv(x, 384, 3, { groups: 2 });
  x = net.conv(x, 256, 3, { groups: 2 });
  x = net.maxPool(x, 3, { stride: 2, padding: 'valid' });
  x = net.linear(net.linear(x, 4096, 'Relu'), 4096, 'Relu');
  return net.finish(net.softmax(net.linear(x, 1000)));
}

/** Convolutions in each of the five stages of VGG, table 1, columns D and E. */
const VGG_STAGES = { 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4] } as const;

/** The convolutions of VGG with a pooling behind each stage; what each stage pools to. */
export function vggStages(net: NetworkBuilder, depth: 16 | 19, { padding = 1, ceil = false } = {}): Tensor[] {
  let x = net.input;
  return VGG_STAGES[depth].map((convolutions, stage) => {
    const channels = Math.min(64 * 2 ** stage, 512);
    for (let i = 0; i < convolutions; i++)
      x = net.conv(x, channels, 3, { padding: stage === 0 && i === 0 ? padding : 1 });
    x = net.maxPool(x, 2, { stride: 2, padding: 'valid', ceil });
    return x;
  });
}

/** VGG: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, table 1. */
export function vgg(depth: 16 | 19): GraphFile {
  const net = new NetworkBuilder(`vgg${depth}`, [1, 3, 224, 224]);
  const x = net.linear(vggStages(net, depth).at(-1)!, 4096, 'Relu');
  return net.finish(net.softmax(net.linear(net.linear(x, 4096, 'Relu'), 1000)));
}

/**
 * SqueezeNet 1.0: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016, table 1.
 * 227 pixels, as in the authors' release.
 */
export function squeezenet(): GraphFile {
  const net = new NetworkBuilder('squeezenet', [1, 3, 227, 227]);
  const fire = (x: Tensor, squeeze: number, expand: number): Tensor => {
    const narrow = net.conv(x, squeeze, 1);
    return net.concat([net.conv(narrow, expand, 1), net.conv(narrow, expand, 3)]);
  };
  const pool = (x: Tensor): Tensor => net.maxPool(x, 3, { stride: 2, padding: 'valid', ceil: true });
  let x = pool(net.conv(net.input, 96, 7, { stride: 2, padding: 'valid' }));
  x = pool(fire(fire(fire(x, 16, 64), 16, 64), 32, 128));
  x = pool(fire(fire(fire(fire(x, 32, 128), 48, 192), 48, 192), 64, 256));
  x = net.conv(fire(x, 64, 256), 1000, 1);
  return net.finish(net.softmax(net.flatten(net.globalAveragePool(x))));
}

/** ResNet: He et al., "Deep Residual Learning for Image Recognition", 2015, table 1; strides in the first layer of a block. */
export function resnet(depth: 18 | 50): GraphFile {
  const net = new NetworkBuilder(`resnet${depth}`, [1, 3, 224, 224]);
  let x = net.conv(net.input, 64, 7, { stride: 2, padding: 3 });
  x = net.maxPool(x, 3, { stride: 2, padding: 1 });
  const blocks = depth === 18 ? [2, 2, 2, 2] : [3, 4, 6, 3];
  blocks.forEach((count, stage) => {
    for (let block = 0; block < count; block++) {
      const stride = block === 0 && stage > 0 ? 2 : 1;
      x = (depth === 18 ? basicBlock : bottleneck)(net, x, 64 * 2 ** stage, stride);
    }
  });
  return net.finish(net.softmax(net.linear(net.globalAveragePool(x), 1000)));
}

function basicBlock(net: NetworkBuilder, x: Tensor, channels: number, stride: number): Tensor {
  const inner = net.conv(x, channels, 3, { stride, padding: 1 });
  return joined(net, x, net.conv(inner, channels, 3, { activation: null }), stride);
}

/** Three layers, 1×1, 3×3 and 1×1; `dilation` instead of a stride where a map keeps its size. */
export function bottleneck(
  net: NetworkBuilder,
  x: Tensor,
  channels: number,
  stride: number,
  dilation = 1,
): Tensor {
  let inner = net.conv(x, channels, 1, { stride });
  inner = net.conv(inner, channels, 3, { dilation });
  return joined(net, x, net.conv(inner, 4 * channels, 1, { activation: null }), stride);
}

function joined(net: NetworkBuilder, x: Tensor, inner: Tensor, stride: number): Tensor {
  const channels = inner.shape[1]!;
  const shortcut = x.shape[1] === channels && stride === 1;
  return net.sum(inner, shortcut ? x : net.conv(x, channels, 1, { stride, activation: null }), 'Relu');
}
