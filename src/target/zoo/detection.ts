import type { GraphFile } from '../../config/graph.js';
import { type Activation, NetworkBuilder, type Tensor } from './builder.js';
import { mobilenetV2Blocks } from './mobilenet.js';

/**
 * SSD with MobileNetV2 at 300 pixels: Sandler et al., 2018, section 6.2, as released in the TensorFlow detection zoo
 * (ssd_mobilenet_v2_coco): six maps with 1×1 box predictors, 90 classes. Decoding and suppression of boxes come after it.
 */
export function ssdMobilenetV2(): GraphFile {
  const net = new NetworkBuilder('ssd-mobilenet-v2', [1, 3, 300, 300]);
  const blocks = mobilenetV2Blocks(net);
  const relu6 = { activation: 'Relu6' as const };
  let x = net.conv(blocks.at(-1)!.output, 1280, 1, relu6);
  const maps = [blocks[13]!.expansion, x];
  for (const channels of [512, 256, 256, 128]) {
    x = net.conv(net.conv(x, channels / 2, 1, relu6), channels, 3, { stride: 2, ...relu6 });
    maps.push(x);
  }
  const heads = maps.flatMap((map, index) => {
    const anchors = index === 0 ? 3 : 6;
    return [4, 91].map((size) => {
      const head = net.conv(map, anchors * size, 1, { activation: null });
      const [, , height, width] = head.shape as [number, number, number, number];
      return net.reshape(net.transpose(head, [0, 2, 3, 1]), [1, height * width * anchors, size]);
    });
  });
  const boxes = net.concat(
    heads.filter((_, index) => index % 2 === 0),
    1,
  );
  const scores = net.activate(
    net.concat(
      heads.filter((_, index) => index % 2 === 1),
      1,
    ),
    'Sigmoid',
  );
  return net.finish(boxes, scores);
}

/**
 * YOLOv5s at 640 pixels: Jocher et al., release 6.0, models/yolov5s.yaml (depth 0.33, width 0.5); the three maps before
 * decoding, 80 classes.
 */
export function yolov5s(height = 640, width = 640, activation: Activation = 'SiLU'): GraphFile {
  const net = new NetworkBuilder('yolov5s', [1, 3, height, width]);
  const conv = (x: Tensor, channels: number, kernel: number, stride = 1): Tensor =>
    net.conv(x, channels, kernel, { stride, padding: Math.floor(kernel / 2), activation });
  /** Two branches, one of them through residual bottlenecks, joined by a convolution. */
  const c3 = (x: Tensor, channels: number, repeats: number, shortcut = true): Tensor => {
    const inner = channels / 2;
    let y = conv(x, inner, 1);
    for (let i = 0; i < repeats; i++) {
      const z = conv(conv(y, inner, 1), inner, 3);
      y = shortcut ? net.sum(y, z) : z;
    }
    return conv(net.concat([y, conv(x, inner, 1)]), channels, 1);
  };
  let x = net.conv(net.input, 32, 6, { stride: 2, padding: 2, activation });
  x = c3(conv(x, 64, 3, 2), 64, 1);
  const p3 = c3(conv(x, 128, 3, 2), 128, 2);
  const p4 = c3(conv(p3, 256, 3, 2), 256, 3);
  x = c3(conv(p4, 512, 3, 2), 512, 1);
  const narrow = conv(x, 256, 1);
  const pools = [narrow];
  for (let i = 0; i < 3; i++) pools.push(net.maxPool(pools.at(-1)!, 5));
  const p5 = conv(conv(net.concat(pools), 512, 1), 256, 1);
  const double = (y: Tensor): Tensor => net.resize(y, 2 * y.shape[2]!, 2 * y.shape[3]!, 'nearest');
  const middle = conv(c3(net.concat([double(p5), p4]), 256, 1, false), 128, 1);
  const small = c3(net.concat([double(middle), p3]), 128, 1, false);
  const medium = c3(net.concat([conv(small, 128, 3, 2), middle]), 256, 1, false);
  const large = c3(net.concat([conv(medium, 256, 3, 2), p5]), 512, 1, false);
  return net.finish(...[small, medium, large].map((map) => net.conv(map, 255, 1, { activation: null })));
}
