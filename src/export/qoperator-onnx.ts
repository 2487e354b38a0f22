import type { Group } from '../config/plan.js';
import { outputScales } from './ascend-deploy-onnx.js';
import { EditList } from './edit-list.js';
import { type Exported, type ExportSource, some } from './formats.js';
import { type Activation, type ExportLayer, isPerTensor, transpose } from './layers.js';
import { integersLeft, isWholeGrid } from './saturation.js';

/**
 * The run's model with integer operators of ONNX in place of its layers. For each layer the first form that fits:
 *
 * - QLinearConv or (without a bias) QLinearMatMul where the group's result is quantized and its activation function
 *   confines values: integers in, integers out, a Clip of integers behind it where that is less than the whole grid;
 * - ConvInteger or MatMulInteger, int32 bias, Cast and Mul by s_x·s_w where the result is wanted in float: exact sums;
 * - what the run wrote (QuantizeLinear/DequantizeLinear around a float operator) where ONNX has no integer operator:
 *   ConvTranspose, a scale a channel of the input, int16 inputs.
 *
 * Everything between layers stays as the run wrote it. ConvInteger gets its weights as uint8 with zero point 128, since
 * onnxruntime before 1.17 knows no other.
 */
export function qoperatorOnnx({ run, network }: ExportSource): Exported {
  const edits = new EditList();
  const groups = new Map(
    run.plan.groups.flatMap((group) => group.nodes.map((node) => [node, group] as const)),
  );
  const kept: string[] = [];
  for (const exported of network.layers) {
    const { layer, input } = exported;
    if (!input || keepsFloat(exported, input) !== null) {
      kept.push(`${layer.name} (${input ? keepsFloat(exported, input) : 'its input is not quantized'})`);
      continue;
    }
    const group = groups.get(layer.name)!;
    const result = integerResult({ run, network }, exported, group);
    if (result) writeQLinear(edits, exported, input, result, group);
    else writeInteger(edits, exported, input);
  }
  const warnings =
    kept.length > 0 ? [`As in the QDQ model, because ONNX has no integer form: ${some(kept)}.`] : [];
  // onnxruntime of the onnx profile is older than 16-bit operators.
  const wide = [...network.activations.values()].some(({ bits }) => bits === 16);
  const check = wide ? 'structure' : 'load';
  return { kind: 'rewrite', model: run.quantized.path, edits, check, warnings };
}

/** Why a layer has no integer operator; null when it has one. */
function keepsFloat({ layer, node }: ExportLayer, input: Activation): string | null {
  if (input.bits !== 8) return 'its input is int16';
  if (!isPerTensor(input)) return 'its input has a scale a channel';
  if (node.op === 'ConvTranspose') return 'ConvTranspose';
  if (layer.weightIndex !== 1) return 'the weight is on the left';
  if (layer.shape.length < 2) return 'the weight is a vector';
  if (node.op !== 'Gemm') return null;
  if (Number(node.attributes.transA ?? 0) !== 0) return 'Gemm transposes its input';
  return node.inputs[2] && !layer.bias ? 'its bias is computed' : null;
}

/** A quantized result, and the integers that its activation function leaves. */
interface IntegerResult {
  output: Activation;
  left: [number, number];
}

/** The quantized result that a QLinear operator can write; null when the float result is wanted. */
function integerResult(
  { run, network }: ExportSource,
  exported: ExportLayer,
  group: Group,
): IntegerResult | null {
  const { graph, plan } = run;
  const output = network.activations.get(group.output);
  // Where values lie in float16 between layers, others read the tensor before it is rounded.
  if (plan.storage !== 'integer' || !output || !isPerTensor(output) || output.bits !== 8) return null;
  if (graph.isOutput(group.output) || graph.capturers(group.output).length > 0) return null;
  if (exported.node.op !== 'Conv' && (exported.bias || exported.layer.shape.length !== 2)) return null;
  const left = integersLeft(graph, group, exported.layer, output);
  return left && { output, left };
}

/** QLinearConv or QLinearMatMul: writes the integers that the group's QuantizeLinear made. */
function writeQLinear(
  edits: EditList,
  exported: ExportLayer,
  input: Activation,
  { output, left }: IntegerResult,
  group: Group,
): void {
  const { layer, node, bias } = exported;
  const quantized = `${output.tensor}/quantized`;
  const whole = isWholeGrid(left, output);
  const conv = node.op === 'Conv';
  const weight = [
    ...weightOf(edits, exported),
    `${layer.name}/weight/scale`,
    `${layer.name}/weight/zero_point`,
  ];
  const inputs = [...parametersOf(input), ...weight, `${output.tensor}/scale`, `${output.tensor}/zero_point`];
  if (conv && bias) inputs.push(`${layer.name}/bias/quantized`);
  const folded = new Set([layer.batchNorm?.name]);
  edits.remove(...group.nodes.filter((name) => !folded.has(name)), `${output.tensor}/QuantizeLinear`);
  const integers = edits.node(
    `${layer.name}/integer`,
    conv ? 'QLinearConv' : 'QLinearMatMul',
    inputs,
    conv ? node.attributes : {},
    ...(whole ? [quantized] : []),
  );
  if (whole) return;
  const Integers = output.signed ? Int8Array : Uint8Array;
  const [low, high] = left.map((value, end) =>
    edits.constant(`${layer.name}/${end === 0 ? 'lowest' : 'highest'}`, Integers.of(value), []),
  );
  edits.node(`${layer.name}/clip`, 'Clip', [integers, low!, high!], {}, quantized);
}

/** ConvInteger or MatMulInteger, then bias, Cast and Mul; writes the layer's float result. */
function writeInteger(edits: EditList, exported: ExportLayer, input: Activation): void {
  const { layer, node, bias } = exported;
  const { name } = layer;
  const conv = node.op === 'Conv';
  const [data, , zeroPoint] = parametersOf(input) as [string, string, string];
  const channels = (values: Int32Array | Float32Array): number[] =>
    conv ? [1, values.length, ...layer.shape.slice(2).map(() => 1)] : [values.length];
  edits.remove(name);
  if (layer.bias && layer.bias.node !== name) edits.remove(layer.bias.node);
  let sum = conv
    ? edits.node(
        `${name}/integer`,
        'ConvInteger',
        [data, ...unsignedWeight(edits, exported, zeroPoint)],
        node.attributes,
      )
    : edits.node(`${name}/integer`, 'MatMulInteger', [data, ...weightOf(edits, exported), zeroPoint]);
  if (bias) {
    const shape = channels(bias.integers);
    sum = edits.node(`${name}/add`, 'Add', [sum, edits.constant(`${name}/bias/int32`, bias.integers, shape)]);
  }
  const float = edits.node(`${name}/cast`, 'Cast', [sum], { to: 1 });
  const scales = outputScales(exported, input);
  const shape = scales.length > 1 ? channels(scales) : [];
  const scale = edits.constant(`${name}/output_scale`, scales, shape);
  edits.node(`${name}/rescale`, 'Mul', [float, scale], {}, layer.output);
}

/** Integers, scale and zero point of a tensor by the names that they have in the run's model. */
const parametersOf = ({ tensor }: Activation): string[] => [
  `${tensor}/quantized`,
  `${tensor}/scale`,
  `${tensor}/zero_point`,
];

/** int8 weight as the operator reads it: Gemm's turned round where it is stored transposed. */
function weightOf(edits: EditList, { layer, node, integers }: ExportLayer): string[] {
  const turn = node.op === 'Gemm' && Number(node.attributes.transB ?? 0) === 1;
  if (!turn) return [`${layer.name}/weight/quantized`];
  const [rows, columns] = layer.shape as [number, number];
  return [
    edits.constant(`${layer.name}/weight/columns`, transpose(integers, [rows, columns]), [columns, rows]),
  ];
}

/** w + 128 with zero point 128 after the input's zero point: the last three inputs of ConvInteger. */
function unsignedWeight(edits: EditList, { layer, integers }: ExportLayer, zeroPoint: string): string[] {
  const unsigned = Uint8Array.from(integers, (value) => value + 128);
  return [
    edits.constant(`${layer.name}/weight/unsigned`, unsigned, layer.shape),
    zeroPoint,
    edits.constant(`${layer.name}/weight/unsigned_zero_point`, Uint8Array.of(128), []),
  ];
}
