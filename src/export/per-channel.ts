import { UserError } from '../errors.js';
import { some } from './formats.js';
import { type Activation, type ExportLayer, isPerTensor, type QuantizedNetwork } from './layers.js';

/** Whether an activation has a scale a channel and the channels differ in nothing but the scale. */
export const differsByFactor = (input: Activation): boolean =>
  !isPerTensor(input) && new Set(input.zeroPoints).size === 1;

/**
 * Refuses activations with a scale a channel (docs/decisions/002) for a format that has one a tensor.
 *
 * Channels with the same zero point (those behind a Relu) differ by a factor that a multiplication can move into the
 * layer's output scale. Where zero points differ nothing is exact: padding writes the one zero point that there is.
 * @param canMultiply the format is a graph, which can hold that multiplication
 * @throws UserError EXPORT_PER_CHANNEL
 */
export function refusePerChannel(format: string, { layers }: QuantizedNetwork, canMultiply: boolean): void {
  const affected = layers.filter(
    ({ input }) => input !== null && !isPerTensor(input) && !(canMultiply && differsByFactor(input)),
  );
  if (affected.length === 0) return;
  const tensors = [...new Set(affected.map(({ layer }) => layer.input))];
  const names = affected.map(({ layer }) => layer.name);
  throw new UserError(
    'EXPORT_PER_CHANNEL',
    `${format} has one scale and zero point a tensor; activations of this run that have one a channel: ${tensors.length}.`,
    {
      expected: 'one scale for each activation that a layer reads',
      found: some(tensors),
      suggestions: [
        `Quantize again without the layers that read them: ${names.map((name) => `--exclude '${name}'`).join(' ')}`,
        'Or export them as they are: --to qdq-onnx, qoperator-onnx, aimet-encodings or json.',
      ],
    },
  );
}

/** Sentences about what the AMCT formats leave out of a run. */
export function amctWarnings({ layers, activations }: QuantizedNetwork): string[] {
  const warnings: string[] = [];
  const read = new Set(layers.flatMap(({ input }) => (input ? [input.tensor] : [])));
  const unread = [...activations.keys()].filter((tensor) => !read.has(tensor));
  if (unread.length > 0) {
    warnings.push(
      `AMCT quantizes what layers read and nothing else: ${unread.length} quantizers are left out and computed in float (${some(unread)}).`,
    );
  }
  const bare = layers.filter(({ input }) => input === null).map(({ layer }) => layer.name);
  if (bare.length > 0) {
    warnings.push(`The input of ${bare.length} layers is not quantized; they stay float: ${some(bare)}.`);
  }
  const linear = layers.filter(perChannelLinear).map(({ layer }) => layer.name);
  if (linear.length > 0) {
    warnings.push(
      `AMCT itself takes one weight scale for Gemm and MatMul, these have one an output channel: ${some(linear)}. --target kirin9000 gives them one.`,
    );
  }
  const wide = layers.filter(({ input }) => input?.bits === 16).map(({ layer }) => layer.name);
  if (wide.length > 0) {
    warnings.push(`${wide.length} layers have int16 activations, which only newer releases of AMCT know.`);
  }
  return warnings;
}

const perChannelLinear = ({ node, input, scales }: ExportLayer): boolean =>
  input !== null && (node.op === 'Gemm' || node.op === 'MatMul') && scales.length > 1;
