import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { errorOf } from '../../test/helpers/plan.js';
import type { GraphFile } from '../config/graph.js';
import { Graph } from '../graph/graph.js';
import { batchOfOne, withFixedBatch } from './network.js';
import { zooGraph } from './zoo/find.js';

function withShape(shape: GraphFile['inputs'][number]['shape']): Graph {
  const b = new GraphBuilder();
  const { file } = b.build([b.relu(b.input('x'))]);
  return new Graph({ ...file, inputs: [{ name: 'x', dtype: 'float32', shape }] });
}

describe('a batch of one', () => {
  it('stands for an open batch', () => {
    expect(batchOfOne(withShape(['N', 3, 8, 8]))).toEqual({ x: [1, 3, 8, 8] });
    expect(batchOfOne(withShape([null, 3]))).toEqual({ x: [1, 3] });
  });

  it('is nothing where all is fixed, or where more than the batch is open', () => {
    expect(batchOfOne(withShape([4, 3, 8, 8]))).toBeNull();
    expect(batchOfOne(withShape(['N', 3, 'H', 'W']))).toBeNull();
    expect(batchOfOne(withShape(null))).toBeNull();
    expect(batchOfOne(withShape([]))).toBeNull();
  });
});

describe('a fixed batch', () => {
  it('stands everywhere for the name of the open one', () => {
    const b = new GraphBuilder();
    const { file } = b.build([b.relu(b.relu(b.input('x', [2, 4])))]);
    const shape = ['batch', 4];
    const open = new Graph({
      ...file,
      inputs: [{ name: 'x', dtype: 'float32', shape }],
      tensors: Object.fromEntries(
        Object.keys(file.tensors).map((name) => [name, { dtype: 'float32', shape }]),
      ),
    });
    const [tensor] = Object.keys(file.tensors);
    expect(withFixedBatch(open).shape('x')).toEqual([1, 4]);
    expect(withFixedBatch(open).shape(tensor!)).toEqual([1, 4]);
    expect(withFixedBatch(open, { x: [8, 4] }).shape(tensor!)).toEqual([8, 4]);
    expect(withFixedBatch(new Graph(file)).file).toEqual(file);
    const rows = new Graph({
      ...open.file,
      tensors: { [tensor!]: { dtype: 'float32', shape: [1, '16*batch', '3*other'] } },
    });
    expect(withFixedBatch(rows, { x: [8, 4] }).shape(tensor!)).toEqual([1, 128, null]);
  });
});

describe('a network of the zoo', () => {
  const sizes = (model: string) => zooGraph(model).file.inputs[0]!.shape;

  it('takes a picture of another size where its layers do', () => {
    expect(sizes('zoo:yolov5s')).toEqual([1, 3, 640, 640]);
    expect(sizes('zoo:yolov5s@416')).toEqual([1, 3, 416, 416]);
    expect(sizes('zoo:fsrcnn@360x640')).toEqual([1, 1, 360, 640]);
    expect(zooGraph('zoo:fsrcnn@360x640').file.outputs[0]!.shape).toEqual([1, 1, 1080, 1920]);
  });

  it.each([
    ['zoo:resnet50@256', 'ZOO_SIZE', 'yolov5s'],
    ['zoo:yolov5s@417', 'ZOO_SIZE', 'multiples of 32'],
    ['zoo:vdsr@8', 'ZOO_SIZE', 'sides from 32'],
    ['zoo:vdsr@a', 'ZOO_UNKNOWN', 'vdsr'],
    ['zoo:resnet51@256', 'ZOO_UNKNOWN', 'resnet50'],
  ])('refuses %s', (model, code, hint) => {
    const error = errorOf(() => zooGraph(model));
    expect(error.code).toBe(code);
    expect([error.expected, ...error.suggestions].join(' ')).toContain(hint);
  });
});
