import type { Plan } from '../config/plan.js';
import type { QuantParam, QuantParams } from '../config/quant-params.js';
import type { Layer } from './layers.js';
import type { SolvedActivation, SolvedLayer } from './solution.js';

/** The open parameter file: every scale and zero point of the quantized model, in graph order. */
export function quantParamsFile(
  model: string,
  plan: Plan,
  layers: readonly Layer[],
  solvedLayers: ReadonlyMap<string, SolvedLayer>,
  activations: ReadonlyMap<string, SolvedActivation>,
): QuantParams {
  const producers = new Map(plan.activations.map(({ tensor, producer }) => [tensor, producer]));
  const activationParams = [...activations.values()].map((solved): QuantParam => {
    const { bits, signed, symmetric } = solved.format;
    return {
      name: solved.tensor,
      kind: 'activation',
      node: producers.get(solved.tensor) ?? null,
      bits,
      signed,
      symmetric,
      granularity: solved.channels ? 'channel' : 'tensor',
      axis: solved.channels?.axis ?? null,
      scale: solved.channels?.parameters.map(({ scale }) => scale) ?? [solved.scale],
      zero_point: solved.channels?.parameters.map(({ zeroPoint }) => zeroPoint) ?? [solved.zeroPoint],
      range_seen: solved.seen,
      rule: solved.rule,
    };
  });
  const layerParams = layers.flatMap((layer) => weightParams(layer, solvedLayers.get(layer.name)!));
  return {
    version: 1,
    model,
    strategy: plan.strategy,
    target: plan.target,
    tensors: [...activationParams, ...layerParams],
    float_nodes: plan.floatNodes.map(({ node, op, reason }) => ({ node, op, reason })),
  };
}

function weightParams(layer: Layer, solved: SolvedLayer): QuantParam[] {
  const { axis, format } = layer.plan;
  const weight: QuantParam = {
    name: layer.plan.tensor,
    kind: 'weight',
    node: layer.name,
    bits: format.bits,
    signed: true,
    symmetric: true,
    granularity: axis === null ? 'tensor' : 'channel',
    axis,
    scale: [...solved.scales],
    zero_point: [...solved.scales].map(() => 0),
    range_seen: extremes(layer.weight),
    rule: 'absmax',
  };
  if (!solved.quantizedBias) return [weight];
  const { scales } = solved.quantizedBias;
  const bias: QuantParam = {
    ...weight,
    name: `${layer.name}/bias`,
    kind: 'bias',
    bits: 32,
    axis: axis === null ? null : 0,
    scale: axis === null ? [scales[0]!] : [...scales],
    zero_point: axis === null ? [0] : [...scales].map(() => 0),
    range_seen: extremes(solved.bias!),
    rule: 'input scale times weight scale',
  };
  return [weight, bias];
}

function extremes(values: Float32Array): [number, number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return values.length > 0 ? [low, high] : [0, 0];
}
