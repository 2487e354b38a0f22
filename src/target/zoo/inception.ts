import type { GraphFile } from '../../config/graph.js';
import { NetworkBuilder, type Tensor } from './builder.js';

/** A classifier on top of the last map: pooled, fully connected, softmax. */
const classify = (net: NetworkBuilder, x: Tensor, classes: number): GraphFile =>
  net.finish(net.softmax(net.linear(net.globalAveragePool(x), classes)));

/** Columns of table 1 of the GoogLeNet paper: #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj. */
const GOOGLENET: readonly (readonly number[] | 'pool')[] = [
  [64, 96, 128, 16, 32, 32],
  [128, 128, 192, 32, 96, 64],
  'pool',
  [192, 96, 208, 16, 48, 64],
  [160, 112, 224, 24, 64, 64],
  [128, 128, 256, 24, 64, 64],
  [112, 144, 288, 32, 64, 64],
  [256, 160, 320, 32, 128, 128],
  'pool',
  [256, 160, 320, 32, 128, 128],
  [384, 192, 384, 48, 128, 128],
];

/** GoogLeNet: Szegedy et al., "Going Deeper with Convolutions", 2014, table 1, with the normalizations of figure 3. */
export function googlenet(): GraphFile {
  const net = new NetworkBuilder('googlenet', [1, 3, 224, 224]);
  const down = (x: Tensor): Tensor => net.maxPool(x, 3, { stride: 2 });
  let x = net.lrn(down(net.conv(net.input, 64, 7, { stride: 2 })), 5);
  x = down(net.lrn(net.conv(net.conv(x, 64, 1), 192, 3), 5));
  for (const row of GOOGLENET) {
    if (row === 'pool') {
      x = down(x);
      continue;
    }
    const [one, reduce3, three, reduce5, five, project] = row as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    x = net.concat([
      net.conv(x, one, 1),
      net.conv(net.conv(x, reduce3, 1), three, 3),
      net.conv(net.conv(x, reduce5, 1), five, 5),
      net.conv(net.maxPool(x, 3), project, 1),
    ]);
  }
  return classify(net, x, 1000);
}

const VALID = { padding: 'valid' } as const;
const HALVES = { padding: 'valid', stride: 2 } as const;

/** Convolutions behind each other, given as [channels, kernel]. */
const chain = (
  net: NetworkBuilder,
  x: Tensor,
  ...layers: [number, number | readonly [number, number]][]
): Tensor => layers.reduce((last, [channels, kernel]) => net.conv(last, channels, kernel), x);

/**
 * Inception v3: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015, table 1 and figures 5
 * to 7, 10; widths of the branches as the authors released them (TF-Slim).
 */
export function inceptionV3(): GraphFile {
  const net = new NetworkBuilder('inception-v3', [1, 3, 299, 299]);
  let x = net.conv(net.conv(net.input, 32, 3, HALVES), 32, 3, VALID);
  x = net.maxPool(net.conv(x, 64, 3), 3, HALVES);
  x = net.maxPool(net.conv(net.conv(x, 80, 1, VALID), 192, 3, VALID), 3, HALVES);
  for (const project of [32, 64, 64])
    x = net.concat([
      net.conv(x, 64, 1),
      chain(net, x, [48, 1], [64, 5]),
      chain(net, x, [64, 1], [96, 3], [96, 3]),
      net.conv(net.averagePool(x, 3), project, 1),
    ]);
  x = net.concat([
    net.conv(x, 384, 3, HALVES),
    net.conv(chain(net, x, [64, 1], [96, 3]), 96, 3, HALVES),
    net.maxPool(x, 3, HALVES),
  ]);
  for (const width of [128, 160, 160, 192])
    x = net.concat([
      net.conv(x, 192, 1),
      chain(net, x, [width, 1], [width, [1, 7]], [192, [7, 1]]),
      chain(net, x, [width, 1], [width, [7, 1]], [width, [1, 7]], [width, [7, 1]], [192, [1, 7]]),
      net.conv(net.averagePool(x, 3), 192, 1),
    ]);
  x = net.concat([
    net.conv(net.conv(x, 192, 1), 320, 3, HALVES),
    net.conv(chain(net, x, [192, 1], [192, [1, 7]], [192, [7, 1]]), 192, 3, HALVES),
    net.maxPool(x, 3, HALVES),
  ]);
  for (let block = 0; block < 2; block++) {
    const [a, b] = [net.conv(x, 384, 1), chain(net, x, [448, 1], [384, 3])];
    x = net.concat([
      net.conv(x, 320, 1),
      ...[a, b].flatMap((y) => [net.conv(y, 384, [1, 3]), net.conv(y, 384, [3, 1])]),
      net.conv(net.averagePool(x, 3), 192, 1),
    ]);
  }
  return classify(net, x, 1001);
}

/** The stem that Inception v4 starts with (figure 3 of the v4 paper): 299 pixels to 35, 384 channels. */
function stem(net: NetworkBuilder): Tensor {
  let x = net.conv(net.conv(net.conv(net.input, 32, 3, HALVES), 32, 3, VALID), 64, 3);
  x = net.concat([net.maxPool(x, 3, HALVES), net.conv(x, 96, 3, HALVES)]);
  x = net.concat([
    net.conv(net.conv(x, 64, 1), 96, 3, VALID),
    net.conv(chain(net, x, [64, 1], [64, [7, 1]], [64, [1, 7]]), 96, 3, VALID),
  ]);
  return net.concat([net.conv(x, 192, 3, HALVES), net.maxPool(x, 3, HALVES)]);
}

/** Inception v4: Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", 2016, figures 3 to 9. */
export function inceptionV4(): GraphFile {
  const net = new NetworkBuilder('inception-v4', [1, 3, 299, 299]);
  let x = stem(net);
  for (let block = 0; block < 4; block++)
    x = net.concat([
      net.conv(net.averagePool(x, 3), 96, 1),
      net.conv(x, 96, 1),
      chain(net, x, [64, 1], [96, 3]),
      chain(net, x, [64, 1], [96, 3], [96, 3]),
    ]);
  x = net.concat([
    net.maxPool(x, 3, HALVES),
    net.conv(x, 384, 3, HALVES),
    net.conv(chain(net, x, [192, 1], [224, 3]), 256, 3, HALVES),
  ]);
  for (let block = 0; block < 7; block++)
    x = net.concat([
      net.conv(net.averagePool(x, 3), 128, 1),
      net.conv(x, 384, 1),
      chain(net, x, [192, 1], [224, [1, 7]], [256, [7, 1]]),
      chain(net, x, [192, 1], [192, [1, 7]], [224, [7, 1]], [224, [1, 7]], [256, [7, 1]]),
    ]);
  x = net.concat([
    net.maxPool(x, 3, HALVES),
    net.conv(net.conv(x, 192, 1), 192, 3, HALVES),
    net.conv(chain(net, x, [256, 1], [256, [1, 7]], [320, [7, 1]]), 320, 3, HALVES),
  ]);
  for (let block = 0; block < 3; block++) {
    const [a, b] = [net.conv(x, 384, 1), chain(net, x, [384, 1], [448, [1, 3]], [512, [3, 1]])];
    x = net.concat([
      net.conv(net.averagePool(x, 3), 256, 1),
      net.conv(x, 256, 1),
      ...[a, b].flatMap((y) => [net.conv(y, 256, [1, 3]), net.conv(y, 256, [3, 1])]),
    ]);
  }
  return classify(net, x, 1001);
}

/**
 * Inception-ResNet v2: the same paper, figures 15 to 19, in the form its authors released (TF-Slim): ten, twenty and ten
 * blocks, and the stem of v3 with one mixed block.
 */
export function inceptionResnetV2(): GraphFile {
  const net = new NetworkBuilder('inception-resnet-v2', [1, 3, 299, 299]);
  const linear = { activation: null } as const;
  /** Adds branches, brought back to the width of their input, to it. */
  const residual = (x: Tensor, branches: Tensor[], last = false): Tensor =>
    net.sum(x, net.conv(net.concat(branches), x.shape[1]!, 1, linear), last ? null : 'Relu');
  let x = net.conv(net.conv(net.input, 32, 3, HALVES), 32, 3, VALID);
  x = net.maxPool(net.conv(x, 64, 3), 3, HALVES);
  x = net.maxPool(net.conv(net.conv(x, 80, 1, VALID), 192, 3, VALID), 3, HALVES);
  x = net.concat([
    net.conv(x, 96, 1),
    chain(net, x, [48, 1], [64, 5]),
    chain(net, x, [64, 1], [96, 3], [96, 3]),
    net.conv(net.averagePool(x, 3), 64, 1),
  ]);
  for (let block = 0; block < 10; block++)
    x = residual(x, [
      net.conv(x, 32, 1),
      chain(net, x, [32, 1], [32, 3]),
      chain(net, x, [32, 1], [48, 3], [64, 3]),
    ]);
  x = net.concat([
    net.conv(x, 384, 3, HALVES),
    net.conv(chain(net, x, [256, 1], [256, 3]), 384, 3, HALVES),
    net.maxPool(x, 3, HALVES),
  ]);
  for (let block = 0; block < 20; block++)
    x = residual(x, [net.conv(x, 192, 1), chain(net, x, [128, 1], [160, [1, 7]], [192, [7, 1]])]);
  x = net.concat([
    net.conv(net.conv(x, 256, 1), 384, 3, HALVES),
    net.conv(net.conv(x, 256, 1), 288, 3, HALVES),
    net.conv(chain(net, x, [256, 1], [288, 3]), 320, 3, HALVES),
    net.maxPool(x, 3, HALVES),
  ]);
  for (let block = 0; block < 10; block++)
    x = residual(
      x,
      [net.conv(x, 192, 1), chain(net, x, [192, 1], [224, [1, 3]], [256, [3, 1]])],
      block === 9,
    );
  return classify(net, net.conv(x, 1536, 1), 1001);
}
