import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { postprocessingNodes } from './postprocessing.js';

const tailOf = (b: GraphBuilder, outputs: string[]): string[] => {
  const graph = b.build(outputs);
  const tail = postprocessingNodes(graph);
  return graph.nodes.filter((node) => tail.has(node.name)).map((node) => node.op);
};

describe('postprocessing', () => {
  it('YOLOX: scores and boxes are joined in float', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const level = (): string => {
      const parts = [b.conv(x), b.node('Sigmoid', [b.conv(x)]), b.node('Sigmoid', [b.conv(x)])];
      return b.node('Reshape', [b.node('Concat', parts, { axis: 1 }), b.integers(1, 12, -1)]);
    };
    const all = b.node('Concat', [level(), level()], { axis: 2 });
    expect(tailOf(b, [b.node('Transpose', [all])]).sort()).toEqual(
      ['Sigmoid', 'Sigmoid', 'Concat', 'Reshape', 'Sigmoid', 'Sigmoid', 'Concat', 'Reshape']
        .concat('Concat', 'Transpose')
        .sort(),
    );
  });

  it('YOLOv5: grids, strides and the exponential of sizes', () => {
    const b = new GraphBuilder();
    const raw = b.node('Reshape', [b.conv(b.input('x')), b.integers(1, 3, 85, -1)]);
    const [centre, size] = b.split('Split', [raw], 2) as [string, string];
    const shifted = b.node('Add', [b.node('Sigmoid', [centre]), b.constant('grid', [1, 3, 2, 64])]);
    const boxes = [
      b.node('Mul', [shifted, b.scalar(8)]),
      b.node('Mul', [b.node('Exp', [size]), b.constant('anchors', [1, 3, 2, 1])]),
    ];
    expect(tailOf(b, [b.node('Concat', boxes, { axis: 2 })])).toEqual([
      ...['Reshape', 'Split', 'Sigmoid', 'Add', 'Mul', 'Exp', 'Mul', 'Concat'],
    ]);
  });

  it('DFL: the expectation over bins is no layer, whether convolution or product', () => {
    const bins = Array.from({ length: 16 }, (_, i) => i);
    for (const spelled of ['Conv', 'MatMul']) {
      const b = new GraphBuilder();
      const sides = b.node('Reshape', [b.conv(b.input('x')), b.integers(1, 4, 16, -1)]);
      const softmax = b.node('Softmax', [b.node('Transpose', [sides])], { axis: 1 });
      const weight = b.constant('dfl', spelled === 'Conv' ? [1, 16, 1, 1] : [16], bins);
      const distance = b.node(spelled, [softmax, weight]);
      expect(tailOf(b, [b.node('Mul', [distance, b.scalar(8)])])).toEqual([
        ...['Reshape', 'Transpose', 'Softmax', spelled, 'Mul'],
      ]);
    }
  });

  it('a small convolution whose weights happen to rise evenly stays a layer', () => {
    const b = new GraphBuilder();
    const x = b.relu(b.conv(b.input('x')));
    const y = b.node('Conv', [x, b.constant('w', [1, 4, 1, 1], [0, 1, 2, 3])]);
    expect(tailOf(b, [y])).toEqual([]);
  });

  it('built-in suppression: what leads to it is float, and the corners of boxes are no layer', () => {
    const b = new GraphBuilder();
    const x = b.conv(b.input('x'));
    const corners = [1, 0, 1, 0, 0, 1, 0, 1, -0.5, 0, 0.5, 0, 0, -0.5, 0, 0.5];
    const boxes = b.node('MatMul', [
      b.node('Transpose', [b.conv(x)]),
      b.constant('corners', [4, 4], corners),
    ]);
    const scores = b.node('Sigmoid', [b.conv(x)]);
    const chosen = b.node('NonMaxSuppression', [boxes, scores], {}, { dtype: 'int64' });
    const index = b.node('Gather', [chosen, b.integers(2)], { axis: 1 }, { dtype: 'int64' });
    const tail = tailOf(b, [b.node('Gather', [boxes, index], { axis: 1 }), chosen]);
    expect(tail).toEqual(['Transpose', 'MatMul', 'Sigmoid', 'NonMaxSuppression', 'Gather', 'Gather']);
  });

  it('coordinates for a second stage are decoded in float though layers follow', () => {
    const b = new GraphBuilder();
    const x = b.relu(b.conv(b.input('x')));
    const rois = b.node('Mul', [b.node('Exp', [b.conv(x)]), b.constant('anchors', [1, 4])]);
    const pooled = b.node('RoiAlign', [x, rois, b.integers(0)]);
    expect(tailOf(b, [b.conv(pooled)])).toEqual(['Exp', 'Mul']);
  });

  it('segmentation: resizing of the result and its argmax', () => {
    const b = new GraphBuilder();
    const resized = b.node('Resize', [b.conv(b.input('x'))], { mode: 'linear' });
    expect(tailOf(b, [b.node('ArgMax', [resized], {}, { dtype: 'int64' })])).toEqual(['Resize', 'ArgMax']);
  });

  it('subgraphs behind the last layer belong to it', () => {
    const b = new GraphBuilder();
    const boxes = b.node('Exp', [b.conv(b.input('x'))]);
    const loop = b.node('Loop', [b.integers(3)], {}, { captures: [boxes] });
    expect(tailOf(b, [loop])).toEqual(['Exp', 'Loop']);
  });

  it('bias and batch normalization of the last layer belong to the layer', () => {
    const b = new GraphBuilder();
    const x = b.input('x', [1, 4]);
    const product = b.node('Add', [b.constant('bias', [4]), b.matMul(x)]);
    const normalized = b.batchNorm(b.conv(b.input('y')));
    expect(tailOf(b, [product, b.node('Softmax', [normalized])])).toEqual(['Softmax']);
  });

  it('a side output does not make what layers read a tail', () => {
    const b = new GraphBuilder();
    const x = b.relu(b.conv(b.input('x')));
    expect(tailOf(b, [x, b.conv(x)])).toEqual([]);
  });

  it('an unused second result does not matter', () => {
    const b = new GraphBuilder();
    const [best] = b.split('TopK', [b.conv(b.input('x')), b.integers(5)], 2);
    expect(tailOf(b, [best!])).toEqual(['TopK']);
  });
});
