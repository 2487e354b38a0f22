import { Graph } from '../../graph/graph.js';
import { NetworkBuilder, type Tensor } from '../../target/zoo/builder.js';
import type { Layer } from './layers.js';

/** The searched part as a graph of shapes, for the cost model. Blocks are those of python/dopt/nas/torch_blocks.py. */
export function graphOf(layers: readonly Layer[], height: number, width: number): Graph {
  const net = new NetworkBuilder('candidate', [1, layers[0]!.in, height, width]);
  const end = layers.reduce((x, layer) => block(net, x, layer), net.input);
  return new Graph(net.finish(end));
}

function block(net: NetworkBuilder, x: Tensor, layer: Layer): Tensor {
  const { out, stride, kernel, hidden, squeeze } = layer;
  const linear = { activation: null } as const;
  // As the frameworks build it: half of the window around each pixel.
  const padding = (kernel - 1) / 2;
  const straight = stride === 1 && layer.in === out;
  switch (layer.block) {
    case 'skip':
      return x;
    case 'conv':
      return net.conv(x, out, kernel, { stride, padding });
    case 'residual': {
      const inside = net.conv(x, hidden, kernel, { stride, padding });
      const end = net.conv(inside, out, kernel, { padding, ...linear });
      return net.sum(end, straight ? x : net.conv(x, out, 1, { stride, padding: 0, ...linear }), 'Relu');
    }
    case 'bottleneck': {
      const inside = net.conv(net.conv(x, hidden, 1), hidden, kernel, { stride, padding });
      const end = net.conv(inside, out, 1, linear);
      return net.sum(end, straight ? x : net.conv(x, out, 1, { stride, padding: 0, ...linear }), 'Relu');
    }
    case 'mbconv': {
      const deep = net.depthwise(net.conv(x, hidden, 1), kernel, { stride, padding });
      const end = net.conv(squeeze > 0 ? excite(net, deep, squeeze) : deep, out, 1, linear);
      return straight ? net.sum(end, x) : end;
    }
    case 'fused': {
      const end = net.conv(net.conv(x, hidden, kernel, { stride, padding }), out, 1, linear);
      return straight ? net.sum(end, x) : end;
    }
  }
}

/** Squeeze-and-excitation (Hu et al., CVPR 2018). */
function excite(net: NetworkBuilder, x: Tensor, squeeze: number): Tensor {
  const squeezed = net.conv(net.globalAveragePool(x), squeeze, 1);
  return net.product(x, net.conv(squeezed, x.shape[1]!, 1, { activation: 'Sigmoid' }));
}
