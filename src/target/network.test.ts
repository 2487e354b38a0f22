import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import type { GraphFile } from '../config/graph.js';
import { Graph } from '../graph/graph.js';
import { batchOfOne } from './network.js';

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
