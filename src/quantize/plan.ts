import type { Group, Plan, QuantizerFormat } from '../config/plan.js';
import { EXIT, UserError } from '../errors.js';
import { foldableBatchNorm } from '../graph/batch-norm.js';
import type { Graph } from '../graph/graph.js';
import { groupNodes } from '../graph/groups.js';
import {
  type TargetProfile,
  targetProfile,
  targetsWithInt16,
  withTensorWeights,
} from '../target/profiles.js';
import type { Strategy, WeightsGranularity } from './options.js';
import { excludedNodes } from './plan/exclude.js';
import { EXCLUDED, floatCauses, floatNodes, refuseUnsupported } from './plan/float-causes.js';
import { LAYER_KINDS } from './plan/integer-groups.js';
import { placement } from './plan/placement.js';
import { INT16, type Precision } from './plan/precision.js';
import { weightPlan } from './plan/weights.js';

export interface PlanOptions {
  strategy: Strategy;
  /** Name of a target profile (src/target): it says what computes in integers. */
  target: string;
  /** 'tensor' keeps to one scale a weight whatever the target could do; 'channel' by default. */
  weightsGranularity?: WeightsGranularity;
  /** Patterns of what stays float; see plan/exclude.ts. */
  exclude: readonly string[];
  /** Make an operator that dopt does not know an error instead of leaving it in float. */
  strict: boolean;
  /** Whether a function spelled in several operators is one unit, alone or with the layer before it; true by default. */
  fuse?: boolean;
  /** Tensors that take another precision than the strategy's. */
  precision?: Precision;
}

/**
 * What is quantized, and where: a pure function of the graph, before any number is known.
 *
 * 1. Nodes that stay float in any case are marked: shapes, postprocessing, unknown operators.
 * 2. The rest is gathered into groups, each one kernel on the device. An exclusion takes out the group it falls in.
 * 3. Layers run in integers, and so do the sums, products, pools and concatenations that lead to integer groups.
 * 4. Every tensor that an integer group reads gets a quantizer; nothing inside a group ever does. A tensor behind
 *    pass-through operators shares the quantizer of the tensor before them.
 * 5. Tensors that are to stay float take what reads them out, and quantizers are placed anew; others become 16 bits wide.
 *
 * @param target for callers that plan again and again
 * @throws UserError EXCLUDE_UNKNOWN, PRECISION_UNKNOWN, TARGET_UNKNOWN, TARGET_STRATEGY, OPERATOR_UNKNOWN (with `strict`)
 */
export function planQuantization(
  graph: Graph,
  options: PlanOptions,
  target: TargetProfile = targetProfile(options.target),
): Plan {
  const profile = options.weightsGranularity === 'tensor' ? withTensorWeights(target) : target;
  const wants16 = options.strategy === 'int16-8' || (options.precision?.int16 ?? []).length > 0;
  if (wants16 && !profile.int16Activations) throw noInt16(profile);
  const excludedNames = excludedNodes(graph, options.exclude);
  const causes = floatCauses(graph);
  if (options.strict) refuseUnsupported(graph, causes, excludedNames);

  const drafts = groupNodes(graph, (node) => causes.has(node.name), options.fuse);
  const excluded = drafts.filter((group) => group.nodes.some((name) => excludedNames.has(name)));
  const { integer, activations, asked } = placement(
    graph,
    drafts,
    profile,
    new Set(causes.keys()),
    new Map(excluded.map(({ name }) => [name, EXCLUDED])),
    formatFor(options.strategy),
    options.precision,
  );

  const rules = new Map(activations.map(({ tensor, range }) => [tensor, range.kind]));
  // A group that moves values needs integers only when what reads its result asks for them.
  const runs = (group: Group): boolean =>
    integer.has(group) &&
    (group.kind !== 'pass-through' || outputsOf(graph, group).some((output) => rules.has(output)));
  const groups = drafts.map((group) => ({ ...group, quantized: runs(group) }));
  const quantized = groups.filter((group) => group.quantized);
  return {
    version: 1,
    strategy: options.strategy,
    target: options.target,
    storage: profile.storage,
    folds: quantized.flatMap((group) => batchNormFold(graph, group)),
    groups,
    activations,
    weights: quantized.flatMap((group) => weightPlan(graph, group, profile)),
    concats: quantized
      .filter(({ kind, output }) => kind === 'concat' && (rules.get(output) ?? 'shared') !== 'shared')
      .map(({ name, inputs, output }) => ({ node: name, inputs, output })),
    floatNodes: groups
      .filter((group) => !group.quantized)
      .flatMap((group) => floatNodes(graph, group, causes, asked.get(group.name), profile)),
  };
}

/** Activations: unsigned and asymmetric at 8 bits, signed and symmetric at 16. Zero is exact in both. */
function formatFor(strategy: PlanOptions['strategy']): QuantizerFormat {
  return strategy === 'int8-8' ? { bits: 8, signed: false, symmetric: false } : INT16;
}

function noInt16({ name }: TargetProfile): UserError {
  return new UserError('TARGET_STRATEGY', `${name} has no layers that take int16 activations.`, {
    exitCode: EXIT.usage,
    expected: `one of ${targetsWithInt16().join(', ')} for int16 activations`,
    found: name,
    suggestions: ['Use --strategy int8-8 without --int16, or name another --target.'],
  });
}

const outputsOf = (graph: Graph, group: Group): string[] =>
  group.nodes.flatMap((name) => graph.node(name)!.outputs);

function batchNormFold(graph: Graph, group: Group): Plan['folds'] {
  if (!LAYER_KINDS.has(group.kind)) return [];
  const batchNorm = foldableBatchNorm(graph, graph.node(group.name)!);
  return batchNorm ? [{ into: group.name, batchNorm: batchNorm.name }] : [];
}
