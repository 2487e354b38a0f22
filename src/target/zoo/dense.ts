import type { GraphFile } from '../../config/graph.js';
import { NetworkBuilder, type Tensor } from './builder.js';
import { vggStages } from './classic.js';
import { mobilenetV2Blocks } from './mobilenet.js';

/**
 * FCN-8s on VGG16: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, as in the
 * authors' voc-fcn8s deploy file: 500 pixels, 100 zeros around the picture, 21 classes.
 */
export function fcn8s(): GraphFile {
  const net = new NetworkBuilder('fcn-8s', [1, 3, 500, 500]);
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
export function deeplabV3(): GraphFile {
  const net = new NetworkBuilder('deeplab-v3', [1, 3, 513, 513]);
  const x = mobilenetV2Blocks(net, 1, 16).at(-1)!.output;
  const [, , height, width] = x.shape as [number, number, number, number];
  const context = net.resize(net.conv(net.globalAveragePool(x), 256, 1), height, width);
  const joint = net.conv(net.concat([context, net.conv(x, 256, 1)]), 256, 1);
  const logits = net.resize(net.conv(joint, 21, 1, { activation: null }), 513, 513);
  return net.finish(net.argMax(logits));
}

/**
 * VDSR: Kim, Lee, Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", 2016, section 3.1. It
 * takes any size; 256×256 is what AI Benchmark runs it with on phones (Ignatov et al., 2019, section 3).
 */
export function vdsr(): GraphFile {
  const net = new NetworkBuilder('vdsr', [1, 1, 256, 256]);
  let x = net.conv(net.input, 64, 3);
  for (let layer = 2; layer < 20; layer++) x = net.conv(x, 64, 3);
  return net.finish(net.sum(net.conv(x, 1, 3, { activation: null }), net.input));
}

/**
 * FSRCNN (56, 12, 4): Dong, Loy, Tang, "Accelerating the Super-Resolution Convolutional Neural Network", 2016, section
 * 3.3, times three. It takes any size; 640×360 to full HD is the task of the Mobile AI challenge (Ignatov et al., 2021).
 */
export function fsrcnn(): GraphFile {
  const net = new NetworkBuilder('fsrcnn', [1, 1, 360, 640]);
  const prelu = { activation: 'PRelu' as const };
  let x = net.conv(net.conv(net.input, 56, 5, prelu), 12, 1, prelu);
  for (let layer = 0; layer < 4; layer++) x = net.conv(x, 12, 3, prelu);
  return net.finish(net.deconv(net.conv(x, 56, 1, prelu), 1, 9, 3, { padding: 3 }));
}
