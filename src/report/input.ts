import type { Analysis } from '../config/analysis.js';
import { toNumber } from '../config/common.js';
import type { Plan } from '../config/plan.js';
import type { QuantParam, QuantParams } from '../config/quant-params.js';
import type { RunResult } from '../config/result.js';
import type { Statistics } from '../config/statistics.js';
import { blame, noiseRatios } from './blame.js';
import { distribution } from './distribution.js';
import type { ReportInput, Scale, TensorReport, WeightReport } from './types.js';

/** The files of a run that a report is made from. */
export interface RunFiles {
  result: RunResult;
  plan: Plan;
  params: QuantParams;
  statistics: Statistics;
  /** Histogram counts of an observed tensor; undefined for others. */
  counts: (tensor: string) => ArrayLike<number | bigint> | undefined;
  analysis?: Analysis | null;
}

/** Channels below this share of the layer's largest scale are called dead. */
const DEAD_CHANNEL = 2 ** -16;

/** Gathers and derives what the report shows. */
export function reportInput(files: RunFiles): ReportInput {
  const { result, plan, params, statistics, counts, analysis = null } = files;
  const comparisons = result.verification?.tensors ?? [];
  const measured = new Map(comparisons.map((comparison) => [comparison.name, comparison]));
  const ratios = noiseRatios(comparisons);
  const blames = blame(plan, ratios);
  const observed = new Map(statistics.tensors.map((tensor) => [tensor.tensor, tensor]));
  const groups = new Map(plan.groups.map((group) => [group.name, group]));
  const owners = new Set(plan.weights.map(({ node }) => node));

  const tensors = params.tensors
    .filter(({ kind }) => kind === 'activation')
    .map((param): TensorReport => {
      const { name, node, bits, rule } = param;
      const scale = scaleOf(param);
      const clip = representable(param);
      const seen = observed.get(name);
      const bins = counts(name);
      const comparison = measured.get(name);
      return {
        name,
        producer: node,
        kind: node === null ? 'input' : (groups.get(node)?.kind ?? 'operator'),
        weighted: groups.get(node ?? '')?.nodes.some((member) => owners.has(member)) ?? false,
        bits,
        scale,
        zeroPoint: scale.channels === 1 ? param.zero_point[0]! : null,
        clip,
        rule,
        seen: seen && bins ? distribution(seen, bins, scale, clip) : null,
        measured: comparison
          ? {
              sqnr: toNumber(comparison.sqnr),
              cosine: toNumber(comparison.cosine),
              ratio: ratios.get(name)!,
              blame: blames.get(name)!,
            }
          : null,
      };
    });
  const weights = params.tensors.filter(({ kind }) => kind === 'weight').map(weightReport);
  return { result, tensors, weights, analysis };
}

/** Smallest and largest value that a quantizer represents, over all of its channels. */
export function representable({ bits, signed, scale, zero_point }: QuantParam): [number, number] {
  const lowest = signed ? -(2 ** (bits - 1)) : 0;
  const end = (integer: number): number[] => scale.map((step, c) => step * (integer - zero_point[c]!));
  return [smallest(end(lowest)), largest(end(lowest + 2 ** bits - 1))];
}

function scaleOf({ scale }: QuantParam): Scale {
  return { channels: scale.length, smallest: smallest(scale), largest: largest(scale) };
}

function weightReport(param: QuantParam): WeightReport {
  const scale = scaleOf(param);
  return {
    name: param.name,
    node: param.node ?? '',
    scale,
    deadChannels: param.scale.filter((step) => step < scale.largest * DEAD_CHANNEL).length,
  };
}

const smallest = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b));
const largest = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b));
