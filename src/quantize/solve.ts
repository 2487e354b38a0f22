import type { Plan } from '../config/plan.js';
import { Bug } from '../errors.js';
import type { Histogram, NativeCore } from '../native/index.js';
import { type ChannelStatistics, channelScales } from './algorithms/channel-scales.js';
import { channelView } from './algorithms/channel-view.js';
import { type ConcatInput, tyingPays } from './algorithms/concat.js';
import { hasRoom, weightScale } from './algorithms/exact-sums.js';
import { type Calibration, ofFewBits, type Range, rangesFor } from './algorithms/ranges.js';
import { quantizeBias, weightScales } from './algorithms/weights.js';
import type { Layer } from './layers.js';
import { parameterRoots } from './plan/precision.js';
import type { ActivationSolution, Observed, Refinement, SolvedActivation, SolvedLayer } from './solution.js';

/**
 * Scales and zero points of all activations.
 *
 * Order: fixed and observed ranges, ties of concats, then the tensors that share another's parameters, then scales a
 * channel where one for all would drown some.
 *
 * @param channels statistics a channel, for tensors that may take a scale a channel
 * @param ties whether concatenations share one range where that loses least, or in any case
 * @param exact tensors that layers of exact sums read (algorithms/exact-sums.ts)
 */
export function solveActivations(
  core: NativeCore,
  plan: Plan,
  observed: ReadonlyMap<string, Observed>,
  channels: ReadonlyMap<string, ChannelStatistics>,
  calibration: Calibration,
  ties: 'by loss' | 'always' = 'by loss',
  exact: ReadonlySet<string> = new Set(),
): ActivationSolution {
  const roots = parameterRoots(plan.activations);
  const exactRoots = new Set([...exact].map((tensor) => roots.get(tensor)));
  const ranges = new Map<string, Range>();
  const candidates = new Map<string, Range[]>();

  for (const { tensor, format, range, producer } of plan.activations) {
    if (range.kind === 'fixed' && isUsed(range, observed.get(tensor)?.histogram)) {
      const fixed = { low: range.low, high: range.high, rule: 'fixed', error: 0 };
      ranges.set(tensor, exactRoots.has(tensor) ? ofFewBits(core, fixed, format) : fixed);
    } else if (range.kind !== 'shared') {
      const histogram = histogramOf(observed, tensor);
      const use = { graphInput: producer === null, exact: exactRoots.has(tensor) };
      const worthwhile = rangesFor(core, histogram, format, use, calibration);
      ranges.set(tensor, worthwhile[0]!);
      if (worthwhile.length > 1) candidates.set(tensor, worthwhile);
    }
  }

  const concats = plan.concats.map(({ node, inputs, output }) => {
    const members = [...new Set([...inputs, output].map((tensor) => roots.get(tensor)!))];
    const decision =
      ties === 'always' && sameWidth(plan, members)
        ? { tied: true, union: unionOf(members, ranges), reason: 'ties were asked for' }
        : decideTie(core, plan, ranges, observed, members, output);
    if (decision.tied) {
      const [root, ...others] = members;
      const { format } = plan.activations.find(({ tensor }) => tensor === root)!;
      const few = members.some((member) => exactRoots.has(member));
      ranges.set(root!, few ? ofFewBits(core, decision.union, format) : decision.union);
      for (const [tensor, at] of roots) if (others.includes(at)) roots.set(tensor, root!);
      for (const member of members) candidates.delete(member);
    }
    return { node, tied: decision.tied, reason: decision.reason };
  });

  const activations = new Map(
    plan.activations.map(({ tensor, format, range, channelAxis }) => {
      const root = roots.get(tensor)!;
      const chosen = ranges.get(root);
      if (!chosen) throw new Bug(`no range for ${tensor}, which takes its parameters from ${root}`);
      const seen = observed.get(tensor)?.statistics;
      const solved: SolvedActivation = {
        tensor,
        format,
        ...core.quantParams(chosen.low, chosen.high, format),
        low: chosen.low,
        high: chosen.high,
        rule: root === tensor ? chosen.rule : `${range.kind === 'shared' ? 'shared' : 'tied'} with ${root}`,
        error: seen && root === tensor ? chosen.error : null,
        seen: seen ? [seen.min, seen.max] : null,
        root,
        channels: null,
      };
      const perChannel = channels.get(tensor);
      if (perChannel && channelAxis !== null && root === tensor) {
        const parameters = channelScales(core, perChannel, format, solved.scale, exactRoots.has(tensor));
        if (parameters) {
          solved.channels = { axis: channelAxis, parameters };
          solved.rule = 'minmax per channel';
          candidates.delete(tensor);
        }
      }
      return [tensor, solved] as const;
    }),
  );
  return { activations, candidates, concats };
}

/**
 * Whether a range that is known beforehand may be taken, whatever calibration saw of it. Where that is less than half, a bit
 * and more would lie idle: a softmax over 785 tokens that all weigh alike gives 0.0013, which steps of 1/255 round to zero.
 */
function isUsed({ low, high }: { low: number; high: number }, histogram: Histogram | undefined): boolean {
  if (!histogram || histogram.width === 0) return true; // Nothing but zeros was seen.
  return 2 * histogram.max > high || 2 * histogram.min < low;
}

interface TieDecision {
  tied: boolean;
  union: Range;
  reason: string;
}

function sameWidth(plan: Plan, members: readonly string[]): boolean {
  const among = plan.activations.filter(({ tensor }) => members.includes(tensor));
  return new Set(among.map(({ format }) => format.bits)).size === 1;
}

/** The range that covers those of all members of a concat. */
function unionOf(members: readonly string[], ranges: ReadonlyMap<string, Range>): Range {
  const list = members.map((member) => ranges.get(member)!);
  return {
    low: Math.min(...list.map((range) => range.low)),
    high: Math.max(...list.map((range) => range.high)),
    rule: 'concat',
    error: 0,
  };
}

/** Whether the members of one concat (its inputs and its output, by root) take one quantizer. */
function decideTie(
  core: NativeCore,
  plan: Plan,
  ranges: ReadonlyMap<string, Range>,
  observed: ReadonlyMap<string, Observed>,
  members: readonly string[],
  output: string,
): TieDecision {
  const union = unionOf(members, ranges);
  const plans = new Map(plan.activations.map((activation) => [activation.tensor, activation]));
  if (members.some((member) => plans.get(member)?.range.kind === 'fixed')) {
    return { tied: false, union, reason: 'one of them has a fixed range' };
  }
  const { format } = plans.get(members[0]!)!;
  if (!sameWidth(plan, members)) return { tied: false, union, reason: 'they are of unlike widths' };
  const inputs = members
    .filter((member) => member !== output)
    .map((member): ConcatInput => {
      const { statistics, histogram } = observed.get(member)!;
      const own = ranges.get(member)!;
      return {
        range: own,
        count: statistics.count,
        power: statistics.sumSquares,
        ownError: own.error,
        unionError: core.rangeError(histogram, union.low, union.high, format),
        readElsewhere: readElsewhere(plan, member, output),
      };
    });
  const at = ranges.get(output) ?? union;
  const outputStep = core.quantParams(at.low, at.high, format).scale;
  const outputHistogram = observed.get(output)?.histogram;
  union.error = outputHistogram ? core.rangeError(outputHistogram, union.low, union.high, format) : 0;
  return { ...tyingPays(inputs, union, outputStep), union };
}

/** Whether a quantized group other than the concat producing `output` reads the tensor. */
function readElsewhere(plan: Plan, tensor: string, output: string): boolean {
  return plan.groups.some((group) => group.output !== output && group.inputs.includes(tensor));
}

function histogramOf(observed: ReadonlyMap<string, Observed>, tensor: string): Histogram {
  const found = observed.get(tensor);
  if (!found) throw new Bug(`calibration did not observe ${tensor}`);
  return found.histogram;
}

/**
 * Integers for all layers with weights.
 * @param shifts bias corrections by layer name, added to the float biases
 * @param weights by layer name, what is rounded instead of the layer's own weights, whose grid stays
 */
export function solveLayers(
  core: NativeCore,
  layers: readonly Layer[],
  { activations, shifts, weights }: Refinement,
): Map<string, SolvedLayer> {
  return new Map(
    layers.map((layer) => {
      const shift = shifts.get(layer.name);
      const bias = layer.bias?.values.map((b, c) => b + (shift?.[c] ?? 0)) ?? null;
      const input = activations.get(layer.input);
      const inputScales = layerInputScales(input);
      const view = channelView(layer.shape, layer.plan.axis);
      const absmax = core.channelAbsmax(layer.weight, view);
      const finest = weightScales(
        absmax,
        layer.plan.format.bits,
        inputScales ? bias : null,
        inputScales ?? [1],
      );
      const exact = layer.exactSums && input !== undefined && hasRoom(input.format);
      const scales = exact ? finest.map(weightScale) : finest;
      const solved: SolvedLayer = {
        name: layer.name,
        integers: core.quantizeI8Channels(weights.get(layer.name) ?? layer.weight, view, scales),
        scales,
        bias,
        quantizedBias: bias && inputScales ? quantizeBias(bias, scales, inputScales) : null,
      };
      return [layer.name, solved];
    }),
  );
}

/** s_x of a layer's input: one value, or one a channel; null when the input is not quantized. */
function layerInputScales(input: SolvedActivation | undefined): number[] | null {
  if (!input) return null;
  return input.channels ? input.channels.parameters.map(({ scale }) => scale) : [input.scale];
}
