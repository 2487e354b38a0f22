import type { Params, Result } from '../bridge/protocol.js';
import { fuseBehind } from '../graph/fusion.js';
import type { Graph } from '../graph/graph.js';
import { isPassThrough } from '../graph/pass-through.js';
import type { SafetensorsFile } from '../graph/safetensors.js';
import type { NativeCore } from '../native/index.js';
import { type NarrowInput, narrowInputs } from './algorithms/narrow-inputs.js';
import type { Range } from './algorithms/ranges.js';
import { weightLimit } from './algorithms/weights.js';
import { dequantized } from './apply.js';
import type { Layer } from './layers.js';
import type { ActivationSolution, Refinement, SolvedActivation } from './solution.js';

/**
 * How weights are solved (native/include/dopt.h, "Layers on Gram matrices"). One light ridge for layers that see many
 * positions and a heavy one for those that see few; which of them stays, held-back samples decide.
 */
export const RECONSTRUCTION: Params<'refine'>['reconstruction'] = {
  ridges: [0.03, 0.3, 3],
  damping: 0.001,
  heldBack: 4,
  operations: 2e9,
  inputs: 4608,
  limit: weightLimit(8),
};

type RefineLayer = Params<'refine'>['layers'][number];

/**
 * What the refinement walk does at each layer, in graph order: which ranges it compares for the layer's input and
 * whether it corrects the bias. A range is chosen once, at the first layer that reads it.
 */
export function refinementLayers(
  core: NativeCore,
  graph: Graph,
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
      hasBias: layer.bias !== null,
      choice: ranges && root !== undefined ? rangeChoice(core, root, ranges, activations) : null,
      sum: otherTerm(graph, layer.output),
      activated: fuseBehind(graph, layer.output)?.output ?? null,
    };
  });
}

/**
 * The other term of the sum that a layer's output goes into and nothing else, as the models call it: in the quantized one
 * what the sum reads, behind a quantizer or before it.
 */
function otherTerm(graph: Graph, output: string): RefineLayer['sum'] {
  const sum = graph.soleReader(output);
  const other = sum?.op === 'Add' ? sum.inputs.find((input) => input !== output) : undefined;
  if (other === undefined || graph.isConstant(other)) return null;
  return { float: other, quantized: [dequantized(other), other] };
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

/** A refinement that changes nothing. */
export const unrefined = ({ activations }: ActivationSolution): Refinement => ({
  activations,
  shifts: new Map(),
  weights: new Map(),
  narrow: [],
});

/** Which of the layers read an input of the network in 8 bits and lose much by it; `answer` is the walk over `layers`. */
export function inputsTooNarrow(
  graph: Graph,
  layers: readonly Layer[],
  { activations }: ActivationSolution,
  answer: Result<'refine'>,
): NarrowInput[] {
  const inputs = new Set(graph.file.inputs.map(({ name }) => name));
  const fromInput = (tensor: string): boolean => {
    const node = graph.producer(tensor);
    return node ? isPassThrough(graph, node) && fromInput(node.inputs[0]!) : inputs.has(tensor);
  };
  return narrowInputs(
    answer.layers.map(({ name, power, errorAfter }, index) => {
      const read = activations.get(layers[index]?.input ?? '');
      const narrow = read !== undefined && read.format.bits === 8 && fromInput(read.root);
      return { name, input: narrow ? read.root : null, power, error: errorAfter };
    }),
  );
}

/** The solution with the ranges that the walk chose, the bias shifts that it measured, the weights that it solved. */
export function applyRefinement(
  core: NativeCore,
  { activations, candidates }: ActivationSolution,
  asked: readonly RefineLayer[],
  answer: Result<'refine'>,
  parameters: SafetensorsFile,
  narrow: NarrowInput[] = [],
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
  const named = (prefix: string): Map<string, Float32Array> =>
    new Map(
      parameters.names
        .filter((name) => name.startsWith(prefix))
        .map((name) => [name.slice(prefix.length), parameters.float32(name).data]),
    );
  return {
    activations: new Map(refined),
    shifts: named('shift/'),
    weights: named('weight/'),
    narrow,
  };
}
