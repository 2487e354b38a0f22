import { UserError } from '../errors.js';
import { some } from './formats.js';
import { type ExportLayer, isPerTensor, type QuantizedNetwork } from './layers.js';

/**
 * Refuses activations with a scale a channel (docs/decisions/002) for a format that has one a tensor. Folding the
 * channels' factors into the depthwise weights would need one zero point for all of them, and padding writes that zero
 * point: no set of numbers of such a format gives the run's result.
 * @throws UserError EXPORT_PER_CHANNEL
 */
export function refusePerChannel(format: string, { layers }: QuantizedNetwork): void {
  const affected = layers.filter(({ input }) => input !== null && !isPerTensor(input));
  if (affected.length === 0) return;
  const tensors = [...new Set(affected.map(({ layer }) => layer.input))];
  const names = affected.map(({ layer }) => layer.name);
  throw new UserError(
    'EXPORT_PER_CHANNEL',
    `${format} has one scale a tensor, but ${tensors.length} activations of this run have one a channel.`,
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
