import { Bug } from '../errors.js';
import { signedOffset } from './amct-record.js';
import { EditList } from './edit-list.js';
import { writeOnGrid } from './float-onnx.js';
import type { Exported, ExportSource } from './formats.js';
import { type Activation, type ExportLayer, isPerTensor, transpose } from './layers.js';
import { amctWarnings, refusePerChannel } from './per-channel.js';

/** ge::DataType of AscendDequant's result: DT_FLOAT. */
const FLOAT = 0;

/**
 * The deploy model of AMCT: every layer computes int8 × int8 → int32 between the custom operators
 *
 * - AscendQuant: y = clip(round(x · scale + offset)), its attribute `scale` is 1 / s_x;
 * - AscendDequant: y = x · deq_scale, its second input a uint64 a channel with the bits of float32 s_x·s_w below.
 *
 * As with AMCT, the int32 bias holds b / (s_x·s_w) and no share of the offset: the Ascend compiler subtracts
 * offset · Σw. It is for that compiler; onnxruntime does not know the operators.
 */
export function ascendDeployOnnx({ run, network }: ExportSource): Exported {
  refusePerChannel('ascend-deploy-onnx', network, true);
  const edits = new EditList();
  const quantized = new Map<string, string>();
  for (const exported of network.layers) {
    const { layer, input } = exported;
    if (!input) {
      edits.fold(layer);
      writeOnGrid(edits, run.graph, exported);
      continue;
    }
    if (!quantized.has(input.tensor)) quantized.set(input.tensor, writeQuant(edits, exported, input));
    edits.input(layer.name, 1 - layer.weightIndex, quantized.get(input.tensor)!);
    writeWeight(edits, exported);
    writeBiasAndDequant(edits, exported, input);
  }
  const warnings = [
    'AscendQuant and AscendDequant are operators of the Ascend compiler: onnxruntime cannot run this file.',
    ...amctWarnings(network),
  ];
  return { kind: 'rewrite', model: run.float, edits, check: 'none', warnings };
}

/** One AscendQuant for all layers that read a tensor, named after the first as AMCT does. */
function writeQuant(edits: EditList, { layer }: ExportLayer, input: Activation): string {
  const { name } = layer;
  const common = [...input.scales].sort((a, b) => a - b)[input.scales.length >> 1]!;
  const attributes = {
    scale: Math.fround(1 / common),
    offset: signedOffset(input),
    dst_type: `INT${input.bits}`,
  };
  let data = input.tensor;
  if (!isPerTensor(input)) {
    // As AMCT's balancer does. The median as the common scale keeps the factors within float16.
    const factors = input.scales.map((scale) => common / scale);
    const shape = [1, factors.length, ...layer.shape.slice(2).map(() => 1)];
    const constant = edits.constant(`${name}.tensor_balance_factor`, factors, shape);
    data = edits.node(`${name}.mul`, 'Mul', [data, constant], {}, `${name}.mul.output0`);
  }
  return edits.node(`${name}.quant`, 'AscendQuant', [data], attributes, `${name}.quant.output0`);
}

/** int8 weight; a transposed Gemm is turned round, as AMCT does and the compiler expects. */
function writeWeight(edits: EditList, { layer, node, integers }: ExportLayer): void {
  const turn = node.op === 'Gemm' && Number(node.attributes.transB ?? 0) === 1;
  const [rows, columns] = layer.shape as [number, number];
  const weight = edits.constant(
    `${layer.name}/weight/quantized`,
    turn ? transpose(integers, [rows, columns]) : integers,
    turn ? [columns, rows] : layer.shape,
  );
  edits.input(layer.name, layer.weightIndex, weight);
  const attributes = layer.attributes ?? node.attributes;
  if (turn) edits.attributes(layer.name, { ...attributes, transB: 0 });
  else if (layer.attributes) edits.attributes(layer.name, layer.attributes);
}

function writeBiasAndDequant(edits: EditList, exported: ExportLayer, input: Activation): void {
  const { layer, bias, floatBias } = exported;
  const { name } = layer;
  if (floatBias) throw new Bug(`the input of ${name} is quantized, but its bias is not`);
  const raw = `${name}.dequant.input0`;
  if (bias && layer.bias) {
    const { node, index } = layer.bias;
    edits.input(node, index, edits.constant(`${name}/bias/quantized`, bias.integers, [bias.integers.length]));
    edits.output(node, raw);
  } else {
    edits.output(name, raw);
  }
  if (layer.batchNorm) edits.remove(layer.batchNorm.name);
  const param = edits.constant(`${name}.dequant.param`, dequantParameters(outputScales(exported, input)), [
    outputScales(exported, input).length,
  ]);
  edits.node(`${name}.dequant`, 'AscendDequant', [raw, param], { dtype: FLOAT }, layer.output);
}

/** s_x·s_w as float32: that of the bias where there is one, else of the weight and of the input channel it reads. */
export function outputScales({ bias, scales }: ExportLayer, { scales: inputs }: Activation): Float32Array {
  if (bias && bias.scales.length >= scales.length) return bias.scales;
  return scales.map((scale, i) => scale * inputs[Math.floor((i * inputs.length) / scales.length)]!);
}

/** float32 scales in the lower half of uint64; the upper half holds the weight's offset, which is 0. */
function dequantParameters(scales: Float32Array): BigUint64Array {
  const bits = new Uint32Array(Float32Array.from(scales).buffer);
  return BigUint64Array.from(bits, (value) => BigInt(value));
}
