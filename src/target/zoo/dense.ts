import type { GraphFile } from '../../config/graph.js';
import { NetworkBuilder, type Tensor } from './builder.js';
import { vggStages } from './classic.js';
import { mobilenetV2Blocks } from './mobilenet.js';

/**
 * FCN-8s on VGG16: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, as in the
 * authors' voc-fcn8s deploy file: 500 pixels, 100 zeros around the picture, 21 classes.
 */
export function fcn8s(height = 500, width = 500): GraphFile {
  const net = new NetworkBuilder('fcn-8s', [1, 3, height, width]);
  const stages = vggStages(net, 16, { padding: 100, ceil: true });
  const score = (x: Tensor): Tensor => net.conv(x, 21, 1, { activation: null });
  const cut = (x: Tensor, like: Tensor): Tensor => net.crop(x, like.shape[2]!, like.shape[3]!);
  let x = net.conv(stages[4]!, 4096, 7, { padding: 'valid' });
  x = net.deconv(score(net.conv(x, 4096, 1)), 21, 4, 2);
  x = net.deconv(net.sum(x, cut(score(stages[3]!), x)), 21, 4, 2);
  x = net.deconv(net.sum(x, cut(score(stages[2]!), x)), 21, 16, 8);
  return net.finish(cut(x, net.input));
}

/**
 * DeepLabV3 on MobileNetV2 at 513 pixels: Sandler et al., 2018, section 6.3, the smallest form of table 7: output stride
 * 16, the branches of "Rethinking Atrous Convolution" without dilated ones; the class of each pixel of the picture, as
 * in the released graph.
 */
export function deeplabV3(height = 513, width = 513): GraphFile {
  const net = new NetworkBuilder('deeplab-v3', [1, 3, height, width]);
  const x = mobilenetV2Blocks(net, 1, 16).at(-1)!.output;
  const context = net.resize(net.conv(net.globalAveragePool(x), 256, 1), x.shape[2]!, x.shape[3]!);
  const joint = net.conv(net.concat([context, net.conv(x, 256, 1)]), 256, 1);
  const logits = net.resize(net.conv(joint, 21, 1, { activation: null }), height, width);
  return net.finish(net.argMax(logits));
}

/**
 * VDSR: Kim, Lee, Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", 2016, section 3.1. It
 * takes any size; 256×256 is what AI Benchmark runs it with on phones (Ignatov et al., 2019, section 3).
 */
export function vdsr(height = 256, width = 256): GraphFile {
  const net = new NetworkBuilder('vdsr', [1, 1, height, width]);
  let x = net.conv(net.input, 64, 3);
  for (let layer = 2; layer < 20; layer++) x = net.conv(x, 64, 3);
  return net.finish(net.sum(net.conv(x, 1, 3, { activation: null }), net.input));
}

/**
 * FSRCNN (56, 12, 4): Dong, Loy, Tang, "Accelerating the Super-Resolution Convolutional Neural Network", 2016, section
 * 3.3, times three. It takes any size; 256×256 as for VDSR.
 */
export function fsrcnn(height = 256, width = 256): GraphFile {
  const net = new NetworkBuilder('fsrcnn', [1, 1, height, width]);
  const prelu = { activation: 'PRelu' as const };
  let x = net.conv(net.conv(net.input, 56, 5, prelu), 12, 1, prelu);
  for (let layer = 0; layer < 4; layer++) x = net.conv(x, 12, 3, prelu);
  return net.finish(net.deconv(net.conv(x, 56, 1, prelu), 1, 9, 3, { padding: 3 }));
}
