import type { Params, Result } from '../bridge/protocol.js';
import type { SafetensorsFile } from '../graph/safetensors.js';
import type { NativeCore } from '../native/index.js';
import type { Range } from './algorithms/ranges.js';
import { dequantized } from './apply.js';
import type { Layer } from './layers.js';
import type { ActivationSolution, SolvedActivation } from './solve.js';

type RefineLayer = Params<'refine'>['layers'][number];

/**
 * What the refinement walk does at each layer, in graph order: which ranges it compares for the layer's input and
 * whether it corrects the bias. A range is chosen once, at the first layer that reads it.
 */
export function refinementLayers(
  core: NativeCore,
  layers: readonly Layer[],
  { activations, candidates }: ActivationSolution,
): RefineLayer[] {
  const settled = new Set<string>();
  return layers.map((layer): RefineLayer => {
    const root = activations.get(layer.input)?.root;
    const ranges = root === undefined || settled.has(root) ? undefined : candidates.get(root);
    if (root !== undefined) settled.add(root);
    return {
      name: layer.name,
      floatOutput: layer.output,
      quantizedOutput: layer.output,
      axis: layer.outputAxis,
      correctBias: layer.bias !== null,
      choice: ranges && root !== undefined ? rangeChoice(core, root, ranges, activations) : null,
    };
  });
}

function rangeChoice(
  core: NativeCore,
  root: string,
  ranges: readonly Range[],
  activations: ReadonlyMap<string, SolvedActivation>,
): RefineLayer['choice'] {
  const { format } = activations.get(root)!;
  return {
    tensor: dequantized(root),
    quantizer: root,
    shared: [...activations.values()]
      .filter((a) => a.root === root && a.tensor !== root)
      .map((a) => a.tensor),
    dtype: `${format.signed ? '' : 'u'}int${format.bits}`,
    candidates: ranges.map(({ low, high }) => core.quantParams(low, high, format)),
  };
}

export interface Refinement {
  activations: Map<string, SolvedActivation>;
  shifts: Map<string, Float32Array>;
}

/** The solution with the ranges that the walk chose, and the bias shifts that it measured. */
export function applyRefinement(
  core: NativeCore,
  { activations, candidates }: ActivationSolution,
  asked: readonly RefineLayer[],
  answer: Result<'refine'>,
  shifts: SafetensorsFile,
): Refinement {
  const chosen = new Map<string, Range>();
  answer.layers.forEach((layer, index) => {
    const root = asked[index]?.choice?.quantizer;
    if (root !== undefined && layer.chosen !== null) chosen.set(root, candidates.get(root)![layer.chosen]!);
  });
  const refined = [...activations].map(([tensor, solved]): [string, SolvedActivation] => {
    const range = chosen.get(solved.root);
    if (!range) return [tensor, solved];
    const own = solved.root === tensor;
    const { low, high } = range;
    const parameters = core.quantParams(low, high, solved.format);
    return [
      tensor,
      {
        ...solved,
        ...parameters,
        low,
        high,
        rule: own ? range.rule : solved.rule,
        error: own ? range.error : solved.error,
      },
    ];
  });
  return {
    activations: new Map(refined),
    shifts: new Map(shifts.names.map((name) => [name, shifts.float32(name).data])),
  };
}
