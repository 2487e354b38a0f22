import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import type { Plan } from '../config/plan.js';
import type { Layer } from '../quantize/layers.js';
import { aimetEncodings } from './aimet-encodings.js';
import { amctRecord } from './amct-record.js';
import { ascendDeployOnnx } from './ascend-deploy-onnx.js';
import { floatOnnx, parameterNames } from './float-onnx.js';
import type { Exported, ExportSource } from './formats.js';
import { type Activation, dequantize, type ExportLayer, transpose } from './layers.js';
import { qoperatorOnnx } from './qoperator-onnx.js';
import type { RunFiles } from './run-files.js';

const activation = (more: Partial<Activation> = {}): Activation => ({
  tensor: 'x',
  bits: 8,
  signed: false,
  axis: null,
  scales: Float32Array.of(0.5),
  zeroPoints: [100],
  ...more,
});

/** A run over one Gemm with transposed weights [3, 2], named `full "1"\`. */
function source(input: Activation | null = activation()): ExportSource {
  const builder = new GraphBuilder();
  const name = 'full "1"\\';
  const x = builder.input('x', [1, 2]);
  const inputs = [x, builder.constant('w', [3, 2]), builder.constant('b', [3])];
  const graph = builder.build([builder.node('Gemm', inputs, { transB: 1 }, { name, shape: [1, 3] })]);
  const node = graph.node(name)!;
  const group = {
    name,
    kind: 'gemm',
    nodes: [name],
    inputs: ['x'],
    output: node.outputs[0]!,
    quantized: true,
    activation: null,
  };
  const layer = {
    name,
    input: 'x',
    weightIndex: 1,
    shape: [3, 2],
    plan: { tensor: 'w', node: name, axis: 0, groups: 1 },
    bias: { values: new Float32Array(3), node: name, index: 2 },
    attributes: null,
    batchNorm: null,
    output: node.outputs[0]!,
  } as unknown as Layer;
  const exported: ExportLayer = {
    layer,
    node,
    integers: Int8Array.of(1, 2, 3, 4, 5, -127),
    scales: Float32Array.of(0.1, 0.2, 0.3),
    bias: input && { integers: Int32Array.of(7, -8, 9), scales: Float32Array.of(0.05, 0.1, 0.15) },
    floatBias: input ? null : Float32Array.of(1, 2, 3),
    input,
  };
  const plan = { storage: 'float16', groups: [group] } as unknown as Plan;
  const run = { graph, plan, float: 'float.onnx', quantized: { path: 'q.onnx' } } as unknown as RunFiles;
  const activations = new Map(input ? [[input.tensor, input]] : []);
  return { run, network: { layers: [exported], activations, integerNodes: new Set([name]) } };
}

const rewriteOf = (exported: Exported) => {
  if (exported.kind !== 'rewrite') throw new Error('no rewrite');
  return { ...exported.edits.done(), parameters: exported.edits.parameters };
};
const textOf = (exported: Exported): string => (exported.kind === 'text' ? exported.text : '');

describe('arithmetic of the writers', () => {
  it('dequantizes in float32 along the axis of the scales', () => {
    const values = dequantize(Int8Array.of(1, 2, 3, 4), Float32Array.of(0.1, 0.2), [2, 2], 1);
    expect(values).toEqual(
      Float32Array.of(0.1, 2 * Math.fround(0.2), 3 * Math.fround(0.1), 4 * Math.fround(0.2)),
    );
    // An int32 becomes float32 before it is multiplied, as in DequantizeLinear.
    const large = dequantize(Int32Array.of(2 ** 24 + 1), Float32Array.of(1), [1], null);
    expect(large).toEqual(Float32Array.of(2 ** 24));
  });

  it('transposes', () => {
    expect(transpose(Int8Array.of(1, 2, 3, 4, 5, 6), [3, 2])).toEqual(Int8Array.of(1, 3, 5, 2, 4, 6));
  });
});

describe('float-onnx', () => {
  it('keeps the names that only the layer reads, and writes integer times scale', () => {
    const from = source();
    expect(parameterNames(from.run.graph, from.network.layers[0]!)).toEqual({ weight: 'w', bias: 'b' });
    const { parameters } = rewriteOf(floatOnnx(from));
    expect(parameters.get('w')!.shape).toEqual([3, 2]);
    expect(parameters.get('w')!.data[5]).toBe(Math.fround(-127 * Math.fround(0.3)));
    expect(parameters.get('b')!.data).toEqual(
      Float32Array.from([7, -8, 9], (q, i) => q * Math.fround([0.05, 0.1, 0.15][i]!)),
    );
  });

  it('writes the float bias of a layer whose input is not quantized', () => {
    const { parameters } = rewriteOf(floatOnnx(source(null)));
    expect(parameters.get('b')!.data).toEqual(Float32Array.of(1, 2, 3));
  });
});

describe('amct-record', () => {
  it('escapes names and moves unsigned zero points by 128', () => {
    const text = textOf(amctRecord(source()));
    expect(text).toContain('key: "full \\"1\\"\\\\"');
    expect(text).toContain('scale_d: 0.5\n    offset_d: -28\n    scale_w: 0.100000001\n');
    expect(textOf(amctRecord(source(activation({ signed: true, zeroPoints: [3] }))))).toContain(
      'offset_d: 3',
    );
  });

  it('marks int16 activations, and leaves layers out whose input is not quantized', () => {
    const wide = activation({ bits: 16, signed: true, zeroPoints: [0] });
    const exported = amctRecord(source(wide));
    expect(textOf(exported)).toContain('act_type: "INT16"');
    expect(exported.warnings.join(' ')).toContain('int16');
    const bare = amctRecord(source(null));
    expect(textOf(bare)).toBe('');
    expect(bare.warnings.join(' ')).toContain('not quantized');
  });

  it('refuses a scale a channel', () => {
    const perChannel = activation({ axis: 1, scales: Float32Array.of(1, 2), zeroPoints: [0, 5] });
    for (const writer of [amctRecord, ascendDeployOnnx]) {
      expect(() => writer(source(perChannel))).toThrow(
        expect.objectContaining({ code: 'EXPORT_PER_CHANNEL', found: 'x' }),
      );
    }
  });
});

describe('ascend-deploy-onnx', () => {
  it('multiplies channels with one zero point to a common scale', () => {
    const scales = Float32Array.of(0.25, 8, 2);
    const { addNodes, parameters } = rewriteOf(
      ascendDeployOnnx(source(activation({ axis: 1, scales, zeroPoints: [4, 4, 4] }))),
    );
    expect(addNodes.map(({ op }) => op)).toEqual(['Mul', 'AscendQuant', 'AscendDequant']);
    expect(addNodes[1]!.attributes).toEqual({ scale: 0.5, offset: -124, dst_type: 'INT8' });
    expect(parameters.get(addNodes[0]!.inputs[1]!)!.data).toEqual(Float32Array.of(8, 0.25, 1));
  });

  it('turns a transposed Gemm, and packs float32 scales into uint64', () => {
    const from = source();
    const { addNodes, attributes, parameters, outputs } = rewriteOf(ascendDeployOnnx(from));
    const { name } = from.network.layers[0]!.layer;
    expect(attributes).toEqual([{ node: name, attributes: { transB: 0 } }]);
    expect(parameters.get(`${name}/weight/quantized`)).toEqual({
      data: Int8Array.of(1, 3, 5, 2, 4, -127),
      shape: [2, 3],
    });
    const packed = parameters.get(`${name}.dequant.param`)!.data as BigUint64Array;
    expect(new Float32Array(Uint32Array.from(packed, Number).buffer)).toEqual(
      Float32Array.of(0.05, 0.1, 0.15),
    );
    expect(addNodes.map(({ op }) => op)).toEqual(['AscendQuant', 'AscendDequant']);
    expect(addNodes[0]!.attributes).toEqual({ scale: 2, offset: -28, dst_type: 'INT8' });
    expect(outputs).toEqual([{ node: name, index: 0, tensor: `${name}.dequant.input0` }]);
  });
});

describe('qoperator-onnx', () => {
  it('says which layers stay as they are, and why', () => {
    const wide = qoperatorOnnx(source(activation({ bits: 16, signed: true, zeroPoints: [0] })));
    expect(wide.warnings.join(' ')).toContain('its input is int16');
    expect(rewriteOf(wide).addNodes).toEqual([]);
    expect(qoperatorOnnx(source(null)).warnings.join(' ')).toContain('not quantized');
  });

  it('multiplies in integers and rescales where the result is wanted in float', () => {
    const { addNodes, removeNodes } = rewriteOf(qoperatorOnnx(source()));
    expect(addNodes.map(({ op }) => op)).toEqual(['MatMulInteger', 'Add', 'Cast', 'Mul']);
    expect(removeNodes).toEqual(['full "1"\\']);
  });
});

describe('aimet-encodings', () => {
  it('counts offsets in unsigned integers', () => {
    const legacy = JSON.parse(textOf(aimetEncodings(source(), '0.6.1')));
    expect(legacy.activation_encodings.x).toEqual([
      { bitwidth: 8, dtype: 'int', is_symmetric: 'False', max: 77.5, min: -50, offset: -100, scale: 0.5 },
    ]);
    expect(legacy.param_encodings.w[0]).toMatchObject({ is_symmetric: 'True', offset: -128 });
    expect(legacy.param_encodings.b[0]).toMatchObject({ bitwidth: 32, offset: -(2 ** 31) });
    const listed = JSON.parse(textOf(aimetEncodings(source(), '1.0.0')));
    expect(listed.activation_encodings).toEqual([
      { name: 'x', dtype: 'INT', bw: 8, enc_type: 'PER_TENSOR', is_sym: false, scale: [0.5], offset: [-100] },
    ]);
    expect(listed.param_encodings[0]).toMatchObject({ name: 'w', enc_type: 'PER_CHANNEL', is_sym: true });
  });
});
