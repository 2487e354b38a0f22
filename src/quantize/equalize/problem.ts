import type { Plan } from '../../config/plan.js';
import type { Graph } from '../../graph/graph.js';
import type { ChannelStatistics } from '../algorithms/channel-scales.js';
import type { EqualizationProblem, RoundedTensor, RoundedWeights } from '../algorithms/equalization.js';
import { weightLimit } from '../algorithms/weights.js';
import type { Layer } from '../layers.js';
import { parameterRoots } from '../plan/precision.js';
import { FIXED } from './channel-sets.js';
import type { Scalable } from './scalable.js';
import { type WeightTable, weightTable } from './weights.js';

/** How much larger values than calibration met must still stay below an upper bound that could not be scaled. */
const MARGIN = 1.25;

/** A channel counts at least as this share of the widest of its tensor: calibration may have missed what it can do. */
const LEAST_WIDTH = 1 / 1024;

/** What calibration saw of each channel, by tensor. */
export type Seen = ReadonlyMap<string, ChannelStatistics>;

/** The rounding noise of a plan in terms of the scales of its channels. */
export function equalizationProblem(
  graph: Graph,
  plan: Plan,
  layers: readonly Layer[],
  scalable: Scalable,
  seen: Seen,
): EqualizationProblem {
  const least = leastScales(scalable, seen);
  const { sets, channels } = scalable;
  const roots = parameterRoots(plan.activations);
  const setsOf = (tensor: string, count: number): Int32Array => {
    const found = channels.get(tensor);
    return found?.numbers.length === count ? sets.setsOf(found.numbers) : new Int32Array(count);
  };
  const weights: RoundedWeights[] = [];
  const ofSet = new Float64Array(sets.size);
  const ofTensor = new Map<string, Float64Array>();
  // Backwards: what a layer's output counts for, the layers behind it say.
  for (const layer of [...layers].reverse()) {
    const power = seen.get(layer.input)?.meanSquare;
    if (!power || layer.weightIndex !== 1 || layer.shape.length < 2) continue;
    const table = weightTable(graph, layer);
    if (table.columns * table.groups !== power.length) continue;
    const inputs = setsOf(layer.input, power.length);
    const outputs = setsOf(layer.output, table.outputs);
    const importance = outputImportance(
      table,
      power,
      Float64Array.from(outputs, (v) => (v === FIXED ? 0 : ofSet[v]!)),
    );
    const root = roots.get(layer.input) ?? layer.input;
    const known = ofTensor.get(root);
    const sum = known?.length === power.length ? known : new Float64Array(power.length);
    eachPair(table, (at, output, input) => {
      const counts = importance[output]! * table.squares[at]!;
      sum[input]! += counts;
      ofSet[inputs[input]!]! += counts;
    });
    ofTensor.set(root, sum);
    if (inputs.some((v) => v !== FIXED) || outputs.some((v) => v !== FIXED)) {
      const { largest, groups, taps } = table;
      const common = layer.plan.axis === null;
      const limit = weightLimit(layer.plan.format.bits);
      weights.push({
        inputs,
        outputs,
        power: floored(power),
        importance,
        largest,
        groups,
        taps,
        common,
        limit,
      });
    }
  }
  const tensors = plan.activations.flatMap(({ tensor, format }): RoundedTensor[] => {
    const ranges = seen.get(tensor);
    if (!ranges || roots.get(tensor) !== tensor || !channels.has(tensor)) return [];
    const count = ranges.min.length;
    const own = setsOf(tensor, count);
    if (own.every((v) => v === FIXED)) return [];
    const direct = ofTensor.get(tensor);
    const importance = direct?.length === count ? direct : Float64Array.from(own, (v) => ofSet[v]!);
    const widths = ranges.min.map((low, c) => Math.max(0, ranges.max[c]!) - Math.min(0, low));
    return [{ sets: own, widths: floored(widths, LEAST_WIDTH), importance, levels: 2 ** format.bits - 1 }];
  });
  return { sets: sets.size, tensors, layers: weights, least };
}

/** Values of at least a share of the largest one. */
function floored(values: Float64Array, share: number = LEAST_WIDTH ** 2): Float64Array {
  const least = values.reduce((a, b) => Math.max(a, b), 0) * share;
  return values.map((value) => Math.max(value, least));
}

function eachPair(
  { outputs, columns, groups }: WeightTable,
  visit: (at: number, output: number, input: number) => void,
): void {
  for (let output = 0, at = 0; output < outputs; output++) {
    const first = Math.floor((output * groups) / outputs) * columns;
    for (let input = first; input < first + columns; input++) visit(at++, output, input);
  }
}

/**
 * What noise in each output channel counts for, as a share of the layer's signal. Where no layer behind says how much it
 * needs a channel, all channels count alike.
 */
function outputImportance(table: WeightTable, power: Float64Array, behind: Float64Array): Float64Array {
  const signal = new Float64Array(table.outputs);
  eachPair(table, (at, output, input) => {
    signal[output]! += table.squares[at]! * power[input]!;
  });
  const asked = behind.some((counts) => counts > 0) ? behind : behind.fill(1);
  const total = signal.reduce((sum, s, o) => sum + s * asked[o]!, 0);
  return total > 0 ? asked.map((counts) => counts / total) : new Float64Array(table.outputs);
}

/**
 * The least scale of each set: below a Clip a channel may grow until the largest value met, with a margin, reaches the
 * bound. A channel that reaches the bound already keeps its scale: s·min(x, b) is not min(s·x, b).
 */
function leastScales({ sets, channels, bounds }: Scalable, seen: Seen): Float64Array {
  const reached = bounds.flatMap(({ tensor, high }) => {
    const { numbers } = channels.get(tensor)!;
    const max = seen.get(tensor)?.max;
    return Array.from(numbers, (channel, c) => ({
      channel,
      share: max ? (MARGIN * max[c]!) / high : Infinity,
    }));
  });
  for (const { channel, share } of reached) if (share > 1) sets.fix(Int32Array.of(channel));
  const least = new Float64Array(sets.size);
  for (const { channel, share } of reached) {
    const set = sets.find(channel);
    least[set] = Math.max(least[set]!, share);
  }
  return least;
}
