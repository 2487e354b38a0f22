import { describe, expect, it } from 'vitest';
import type { Rewrite } from '../config/rewrite.js';
import type { Tensor } from '../graph/safetensors.js';
import { floatRewrite } from './float-model.js';

const tensors = new Map<string, Tensor>([
  ['c/weight/quantized', { data: Int8Array.from([1, -2, 3, 4]), shape: [2, 2] }],
  ['c/weight/scale', { data: Float32Array.from([0.5, 0.1]), shape: [2] }],
  ['c/bias/quantized', { data: Int32Array.from([16777217, -3]), shape: [2] }],
  ['c/bias/scale', { data: Float32Array.from([0.25]), shape: [] }],
  ['d/bias', { data: Float32Array.from([7]), shape: [1] }],
  ['x/scale', { data: Float32Array.from([0.1]), shape: [] }],
  ['x/zero_point', { data: Uint8Array.from([3]), shape: [] }],
]);
const node = (name: string, op: string, inputs: string[], output: string, attributes = {}) => ({
  name,
  op,
  domain: '',
  inputs,
  outputs: [output],
  attributes,
});
const qdq: Rewrite = {
  version: 1,
  removeNodes: ['bn'],
  initializers: [...tensors.keys()],
  inputs: [
    { node: 'c', index: 1, tensor: 'c/weight/dequantized' },
    { node: 'c', index: 2, tensor: 'c/bias/dequantized' },
    { node: 'd', index: 2, tensor: 'd/bias' },
    { node: 'c', index: 0, tensor: 'x/dequantized' },
    { node: 'e', index: 1, tensor: 'y' },
  ],
  outputs: [{ node: 'c', index: 0, tensor: 'y' }],
  attributes: [{ node: 'g', attributes: { alpha: 1 } }],
  addNodes: [
    node('w', 'DequantizeLinear', ['c/weight/quantized', 'c/weight/scale'], 'c/weight/dequantized', {
      axis: 1,
    }),
    node('b', 'DequantizeLinear', ['c/bias/quantized', 'c/bias/scale'], 'c/bias/dequantized'),
    node('q', 'QuantizeLinear', ['x', 'x/scale', 'x/zero_point'], 'x/quantized'),
    node('dq', 'DequantizeLinear', ['x/quantized', 'x/scale', 'x/zero_point'], 'x/dequantized'),
  ],
  extraOutputs: [],
};

describe('floatRewrite', () => {
  const { rewrite, parameters } = floatRewrite(qdq, tensors);

  it('puts weights and biases on their grid, along their axis', () => {
    expect([...parameters.get('c/weight/dequantized')!.data]).toEqual(
      [0.5, -0.2, 1.5, 0.4].map((value) => expect.closeTo(value, 6)),
    );
    // An int32 that float32 cannot hold is rounded before it is scaled, as onnxruntime does.
    expect([...parameters.get('c/bias/dequantized')!.data]).toEqual([16777216 / 4, -0.75]);
    expect(parameters.get('d/bias')).toBe(tensors.get('d/bias'));
  });

  it('leaves the quantizers of activations out and keeps all other edits', () => {
    expect(rewrite.addNodes).toEqual([]);
    expect(rewrite.initializers).toEqual(['c/weight/dequantized', 'c/bias/dequantized', 'd/bias']);
    expect(rewrite.inputs.map(({ tensor }) => tensor)).toEqual([
      'c/weight/dequantized',
      'c/bias/dequantized',
      'd/bias',
      'y',
    ]);
    expect(rewrite).toMatchObject({
      removeNodes: qdq.removeNodes,
      outputs: qdq.outputs,
      attributes: qdq.attributes,
    });
  });
});
