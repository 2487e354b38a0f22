import type { Graph } from '../graph/graph.js';
import { parameterNames } from './float-onnx.js';
import { type Exported, type ExportSource, some } from './formats.js';
import type { Activation, QuantizedNetwork } from './layers.js';

export const ENCODINGS_VERSIONS = ['0.6.1', '1.0.0'] as const;
export type EncodingsVersion = (typeof ENCODINGS_VERSIONS)[number];

/** One tensor's quantizer. */
interface Encoding {
  name: string;
  bits: number;
  signed: boolean;
  perChannel: boolean;
  scales: number[];
  zeroPoints: number[];
}

/**
 * Encodings as AIMET exports them for Qualcomm's converters: `min = scale · offset`, where the offset is that of unsigned
 * integers whatever the type: offset = −zero_point, and 2^(bits−1) less for signed ones. AIMET calls signed integers
 * symmetric. Names are those of the network that `float-onnx` writes.
 *
 * Source: "Encoding Format Specification" of the AIMET documentation (0.6.1), and EncodingType of aimet (1.0.0).
 */
export function aimetEncodings({ run, network }: ExportSource, version: EncodingsVersion): Exported {
  const activations = [...network.activations.values()].map(activationEncoding);
  const parameters = parameterEncodings(run.graph, network);
  const shared = {
    activation_bitwidth: Math.max(8, ...activations.map(({ bits }) => bits)),
    dtype: 'int',
    is_symmetric: version === '0.6.1' ? 'True' : true,
    param_bitwidth: 8,
    per_channel_quantization: version === '0.6.1' ? 'True' : true,
    quant_scheme: 'post_training_tf',
  };
  const file =
    version === '0.6.1'
      ? {
          version,
          activation_encodings: Object.fromEntries(activations.map((one) => [one.name, legacy(one)])),
          param_encodings: Object.fromEntries(parameters.map((one) => [one.name, legacy(one)])),
          quantizer_args: shared,
        }
      : {
          version,
          activation_encodings: activations.map(listed),
          param_encodings: parameters.map(listed),
          excluded_layers: [],
          quantizer_args: shared,
        };
  const text = `${JSON.stringify(file, null, 2)}\n`;
  return { kind: 'text', text, warnings: warnings(run.graph, network) };
}

const activationEncoding = ({ tensor, bits, signed, scales, zeroPoints }: Activation): Encoding => ({
  name: tensor,
  bits,
  signed,
  perChannel: scales.length > 1,
  scales: [...scales],
  zeroPoints,
});

function parameterEncodings(graph: Graph, { layers }: QuantizedNetwork): Encoding[] {
  return layers.flatMap((exported) => {
    const names = parameterNames(graph, exported);
    const of = (name: string, bits: number, scales: Float32Array): Encoding => ({
      name,
      bits,
      signed: true,
      perChannel: scales.length > 1,
      scales: [...scales],
      zeroPoints: [...scales].map(() => 0),
    });
    const weight = of(names.weight, 8, exported.scales);
    return exported.bias ? [weight, of(names.bias, 32, exported.bias.scales)] : [weight];
  });
}

/** The offset that AIMET writes: of unsigned integers. */
const offsets = ({ bits, signed, zeroPoints }: Encoding): number[] =>
  zeroPoints.map((zeroPoint) => -zeroPoint - (signed ? 2 ** (bits - 1) : 0));

/** 0.6.1: a list with one entry, or one a channel. */
function legacy(encoding: Encoding): object[] {
  const { bits, signed, scales } = encoding;
  return offsets(encoding).map((offset, channel) => ({
    bitwidth: bits,
    dtype: 'int',
    is_symmetric: signed ? 'True' : 'False',
    max: (offset + 2 ** bits - 1) * scales[channel]!,
    min: offset * scales[channel]!,
    offset,
    scale: scales[channel]!,
  }));
}

/** 1.0.0: one entry a tensor. */
function listed(encoding: Encoding): object {
  const { name, bits, signed, perChannel, scales } = encoding;
  return {
    name,
    dtype: 'INT',
    bw: bits,
    enc_type: perChannel ? 'PER_CHANNEL' : 'PER_TENSOR',
    is_sym: signed,
    scale: scales,
    offset: offsets(encoding),
  };
}

function warnings(graph: Graph, { activations, integerNodes }: QuantizedNetwork): string[] {
  const said = ['The names are those of the network that --to float-onnx writes; export both from one run.'];
  const perChannel = [...activations.values()].filter(({ scales }) => scales.length > 1);
  if (perChannel.length > 0) {
    said.push(
      `${perChannel.length} activations have a scale a channel, which runtimes rarely take: ${some(perChannel.map(({ tensor }) => tensor))}. --exclude their layers when quantizing if yours refuses them.`,
    );
  }
  const both = [...activations.keys()].filter(
    (tensor) =>
      graph.isOutput(tensor) || graph.readers(tensor).some(({ node }) => !integerNodes.has(node.name)),
  );
  if (both.length > 0) {
    said.push(
      `An encoding holds for every reader of its tensor; in this run some read the float value: ${some(both)}.`,
    );
  }
  return said;
}
