/** What the parameter file of dopt can and cannot replace, for the user to decide. */
export function parameterFileNotes(compressConf: string | null): string[] {
  if (compressConf !== null) {
    return [
      `${compressConf} is encrypted: dopt cannot tell whether it belongs to this model. The converter matches it by node name.`,
    ];
  }
  return [
    'There is no --compress_conf in this command: the converter reads nothing but the encrypted file of the original tool. quant_params.json holds the same kind of numbers openly, but the converter cannot read it.',
    'So this makes a float16 model: its weights lie on the int8 grid, but nothing is computed in integers, and it is as large as without dopt.',
    'For integers on the device: run the original tool on this float network with the same data and give its file with --compress-conf FILE. The weights are on a grid already; the ranges of activations will be those that the tool finds itself.',
    'Or build the network with the device graph interface: x_quant_scale, x_quant_offset and filter_quant_scales of its quantized layers are in quant_params.json.',
  ];
}
