import type { Rewrite } from '../config/rewrite.js';
import type { Tensor } from '../graph/safetensors.js';

/** Edits of a float model and the initializers that they bring in. */
export interface FloatRewrite {
  rewrite: Rewrite;
  parameters: Map<string, Tensor>;
}

/**
 * The edits that make a QDQ model, without its quantizers: batch normalization folded, weights and biases as float32
 * exactly on the grid of their integers, activations untouched.
 *
 * @param tensors the initializers of the QDQ edits, by name
 */
export function floatRewrite(rewrite: Rewrite, tensors: ReadonlyMap<string, Tensor>): FloatRewrite {
  const parameters = new Map<string, Tensor>();
  for (const { inputs, outputs, attributes } of rewrite.addNodes) {
    const integers = tensors.get(inputs[0]!);
    if (integers) {
      parameters.set(
        outputs[0]!,
        dequantize(integers, tensors.get(inputs[1]!)!, Number(attributes.axis ?? 0)),
      );
    }
  }
  const fromNodes = new Set(rewrite.addNodes.flatMap(({ outputs }) => outputs));
  const inputs = rewrite.inputs.filter(({ tensor }) => {
    if (parameters.has(tensor)) return true;
    const given = tensors.get(tensor);
    if (given) parameters.set(tensor, given);
    return given !== undefined || !fromNodes.has(tensor);
  });
  return {
    rewrite: { ...rewrite, initializers: [...parameters.keys()], inputs, addNodes: [] },
    parameters,
  };
}

/** DequantizeLinear of onnxruntime for zero points of 0: float32(integer) · scale, rounded once more to float32. */
function dequantize(integers: Tensor, scales: Tensor, axis: number): Tensor {
  const { data, shape } = integers;
  const inner = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  const count = scales.data.length;
  const values = Float32Array.from({ length: data.length }, (_, index) => {
    const scale = Number(scales.data[count === 1 ? 0 : Math.floor(index / inner) % count]);
    return Math.fround(Number(data[index])) * scale;
  });
  return { data: values, shape };
}
