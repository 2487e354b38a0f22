import { SafetensorsFile, type Tensor } from '../../graph/safetensors.js';
import type { NativeCore } from '../../native/index.js';
import { channelScales } from '../algorithms/channel-scales.js';
import { equalizingScales } from '../algorithms/equalization.js';
import { type QdqRewrite, qdqRewrite } from '../apply.js';
import { collectLayers, type Layer } from '../layers.js';
import { parameterRoots } from '../plan/precision.js';
import { unrefined } from '../refine.js';
import type { SolvedActivation } from '../solution.js';
import { solveLayers } from '../solve.js';
import type { Prepared } from '../stages.js';
import { absorbOffsets } from './absorption.js';
import { equalizationProblem, type Seen } from './problem.js';
import { overlaid, rescaled } from './rescale.js';
import type { Scalable } from './scalable.js';

/** How much of what equalization could do is done. */
export interface Strength {
  /** Exponent of the scales between layers, and of those behind normalizations: 0 leaves channels as they are. */
  layers: number;
  norms: number;
  /** Whether offsets move into the next layers. */
  absorb: boolean;
}

export const OFF: Strength = { layers: 0, norms: 0, absorb: false };

/** A network with channels scaled: its constants that changed, and what calibration would see of it. */
export interface Candidate {
  changed: Map<string, Tensor<Float32Array>>;
  seen: Seen;
}

/** Makes candidates of one network. */
export interface Candidates {
  /** Whether there are offsets to move. */
  absorbs: boolean;
  make(strength: Strength): Candidate;
}

/** The candidates of a network; scales are found once with offsets moved and once without. */
export function candidates(
  { graph, plan, weights }: Prepared,
  layers: readonly Layer[],
  scalable: Scalable,
  seen: Seen,
): Candidates {
  const constants = SafetensorsFile.open(weights);
  const absorption = absorbOffsets({ graph, layers, channels: scalable.channels }, seen);
  const found = new Map<boolean, Float64Array>();
  const scalesWith = (absorb: boolean, at: Seen): Float64Array => {
    const known = found.get(absorb);
    if (known) return known;
    const scales = equalizingScales(equalizationProblem(graph, plan, layers, scalable, at));
    found.set(absorb, scales);
    return scales;
  };
  const behindNorms = new Set(
    scalable.norms.flatMap(({ output }) => [...scalable.sets.setsOf(scalable.channels.get(output)!.numbers)]),
  );
  const make = (strength: Strength): Candidate => {
    const at = strength.absorb ? absorption.seen : seen;
    const full = scalesWith(strength.absorb, at);
    const scales = full.map(
      (scale, set) => scale ** (behindNorms.has(set) ? strength.norms : strength.layers),
    );
    const offsets = strength.absorb ? absorption.changes : new Map<string, Float64Array>();
    const changed = rescaled(graph, layers, scalable, scales, offsets, constants);
    return { changed, seen: scaledStatistics(scalable, scales, at) };
  };
  return { absorbs: absorption.changes.size > 0, make };
}

/** Statistics of tensors whose channels are divided by scales. */
function scaledStatistics({ sets, channels }: Scalable, scales: Float64Array, seen: Seen): Seen {
  return new Map(
    [...seen].map(([tensor, statistics]) => {
      const numbers = channels.get(tensor)?.numbers;
      if (numbers?.length !== statistics.min.length) return [tensor, statistics];
      const by = Float64Array.from(sets.setsOf(numbers), (set) => scales[set]!);
      const divided = (values: Float64Array): Float64Array => values.map((value, c) => value / by[c]!);
      const { min, max, mean, meanSquare } = statistics;
      const power = meanSquare.map((value, c) => value / by[c]! ** 2);
      return [tensor, { min: divided(min), max: divided(max), mean: divided(mean), meanSquare: power }];
    }),
  );
}

/** A candidate quantized the quick way: whole ranges, weights rounded to nearest. */
export function quickRewrite(
  core: NativeCore,
  { graph, plan, weights, options }: Prepared,
  { changed, seen }: Candidate,
): QdqRewrite {
  const constants = overlaid(SafetensorsFile.open(weights), changed);
  const layers = collectLayers(graph.file, plan, constants);
  const roots = parameterRoots(plan.activations);
  const solved = plan.activations.map((activation): [string, SolvedActivation] => {
    const root = plan.activations.find(({ tensor }) => tensor === roots.get(activation.tensor))!;
    const { tensor, format, channelAxis } = activation;
    const statistics = seen.get(root.tensor)!;
    const { low, high } =
      root.range.kind === 'fixed' ? root.range : { low: least(statistics.min), high: most(statistics.max) };
    const common = core.quantParams(low, high, format);
    const splits = options.engine.channelScales && channelAxis !== null && root === activation;
    const parameters = splits ? channelScales(core, statistics, format, common.scale) : null;
    const channels = parameters && { axis: channelAxis!, parameters };
    const rest = { low, high, rule: 'minmax', error: null, seen: null, root: root.tensor };
    return [tensor, { tensor, format, ...common, ...rest, channels }];
  });
  const refinement = unrefined({ activations: new Map(solved), candidates: new Map(), concats: [] });
  const integers = solveLayers(core, layers, refinement);
  const result = qdqRewrite(graph.file, plan, layers, integers, refinement.activations, 'float32');
  // Gains and offsets of normalizations stay constants of the model.
  for (const [name, tensor] of changed) result.parameters.set(name, tensor);
  result.rewrite.initializers.push(...changed.keys());
  return result;
}

const least = (values: Float64Array): number => values.reduce((a, b) => Math.min(a, b), 0);
const most = (values: Float64Array): number => values.reduce((a, b) => Math.max(a, b), 0);
