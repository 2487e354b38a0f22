import type { Rewrite } from '../config/rewrite.js';
import { Bug } from '../errors.js';
import type { Tensor } from '../graph/safetensors.js';
import { dequantized, floatBias, type QdqRewrite } from '../quantize/apply.js';
import type { Layer } from '../quantize/layers.js';

/**
 * A quantized model with some of its activation quantizers off: an Identity in the place of the QuantizeLinear and
 * DequantizeLinear pair. Tensors keep their names, so that what integer operators read can still be told apart from
 * what others read, and be replaced.
 */
export function withoutQuantizers(
  { rewrite, parameters }: QdqRewrite,
  isOff: (tensor: string) => boolean,
): QdqRewrite {
  const off = new Map<string, string>();
  for (const { op, inputs, outputs } of rewrite.addNodes) {
    const [tensor] = inputs;
    if (op === 'QuantizeLinear' && isOff(tensor!)) off.set(outputs[0]!, tensor!);
  }
  const addNodes = rewrite.addNodes.flatMap((node): Rewrite['addNodes'] => {
    if (node.op === 'QuantizeLinear' && off.has(node.outputs[0]!)) return [];
    const tensor = node.op === 'DequantizeLinear' ? off.get(node.inputs[0]!) : undefined;
    if (tensor === undefined) return [node];
    return [
      {
        name: `${tensor}/Identity`,
        op: 'Identity',
        domain: '',
        inputs: [tensor],
        outputs: node.outputs,
        attributes: {},
      },
    ];
  });
  const gone = new Set([...off.values()].flatMap((tensor) => [`${tensor}/scale`, `${tensor}/zero_point`]));
  return rebuilt(rewrite, addNodes, new Map([...parameters].filter(([name]) => !gone.has(name))));
}

/** A quantized model with the float weights and biases of its layers, batch normalization folded. */
export function withFloatWeights({ rewrite, parameters }: QdqRewrite, layers: readonly Layer[]): QdqRewrite {
  const kept = new Map(parameters);
  const given = new Set<string>();
  /** What stood behind a DequantizeLinear becomes an initializer of the same name. */
  const put = (name: string, tensor: Tensor): void => {
    for (const part of ['quantized', 'scale', 'zero_point']) kept.delete(`${name}/${part}`);
    kept.set(dequantized(name), tensor);
    given.add(dequantized(name));
  };
  for (const { name, weight, shape, bias } of layers) {
    put(weightOf(name), { data: weight, shape });
    if (!bias) continue;
    const values = { data: bias.values, shape: [bias.values.length] };
    if (kept.has(floatBias(name))) kept.set(floatBias(name), values);
    else put(floatBias(name), values);
  }
  const addNodes = rewrite.addNodes.filter(({ outputs }) => !given.has(outputs[0]!));
  if (addNodes.length + given.size !== rewrite.addNodes.length)
    throw new Bug('a layer has no quantized weight');
  return rebuilt(rewrite, addNodes, kept);
}

/** What the parameters of a layer's weight are called by. */
export const weightOf = (layer: string): string => `${layer}/weight`;

const rebuilt = (
  rewrite: Rewrite,
  addNodes: Rewrite['addNodes'],
  parameters: Map<string, Tensor>,
): QdqRewrite => ({
  rewrite: { ...rewrite, addNodes, initializers: [...parameters.keys()] },
  parameters,
});
