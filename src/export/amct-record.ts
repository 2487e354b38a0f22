import type { Exported, ExportSource } from './formats.js';
import type { Activation, ExportLayer } from './layers.js';
import { amctWarnings, refusePerChannel } from './per-channel.js';

/**
 * The record file of AMCT (Ascend Model Compression Toolkit): protobuf text of message ScaleOffsetRecord
 * (amct_pytorch/proto/scale_offset_record_pytorch.proto), one record a layer by node name. It belongs to the network
 * that `float-onnx` writes: batch normalization is folded already, hence skip_fusion.
 *
 * AMCT's integers are signed: int = round(x / scale_d) + offset_d in −128..127, so an unsigned zero point moves by 128.
 */
export function amctRecord({ network }: ExportSource): Exported {
  refusePerChannel('amct-record', network, false);
  const text = network.layers
    .filter((layer): layer is ExportLayer & { input: Activation } => layer.input !== null)
    .map(({ layer, input, scales }) =>
      [
        'record {',
        `  key: ${quoted(layer.name)}`,
        '  value {',
        `    scale_d: ${float32(input.scales[0]!)}`,
        `    offset_d: ${signedOffset(input)}`,
        ...Array.from(scales, (scale) => `    scale_w: ${float32(scale)}`),
        ...Array.from(scales, () => '    offset_w: 0'),
        '    skip_fusion: true',
        `    act_type: "INT${input.bits}"`,
        '    wts_type: "INT8"',
        '  }',
        '}\n',
      ].join('\n'),
    )
    .join('');
  const pair =
    'The record belongs to the network that --to float-onnx writes; export both from the same run.';
  return { kind: 'text', text, warnings: [pair, ...amctWarnings(network)] };
}

/** A zero point in the signed integers that AMCT counts in. */
export const signedOffset = ({ bits, signed, zeroPoints }: Activation): number =>
  zeroPoints[0]! - (signed ? 0 : 2 ** (bits - 1));

/** Nine digits tell every float32 from its neighbours. */
const float32 = (value: number): string => String(Number(value.toPrecision(9)));

/** A string of protobuf text; bytes that are not printable as octal numbers. */
function quoted(text: string): string {
  const escaped = text.replace(/[\\"]/g, '\\$&').replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are the ones to escape
    /[\u0000-\u001f\u007f]/g,
    (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`,
  );
  return `"${escaped}"`;
}
