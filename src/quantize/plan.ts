import type { GraphNode } from '../config/graph.js';
import type {
  ActivationPlan,
  FloatNode,
  Group,
  Plan,
  QuantizerFormat,
  RangeRule,
  WeightPlan,
} from '../config/plan.js';
import { UserError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { FIXED_RANGES, operatorRole } from '../graph/operators.js';
import { postprocessingNodes } from '../graph/postprocessing.js';
import { type TargetProfile, targetProfile } from '../target/profiles.js';
import { excludedNodes } from './plan/exclude.js';
import { groupNodes } from './plan/groups.js';
import { isPassThrough } from './plan/pass-through.js';

export interface PlanOptions {
  strategy: 'int8-8' | 'int16-8';
  /** Name of a target profile (src/target): it says what computes in integers. */
  target: string;
  /** Patterns of what stays float; see plan/exclude.ts. */
  exclude: readonly string[];
  /** Make an operator that dopt does not know an error instead of leaving it in float. */
  strict: boolean;
}

const WEIGHTED_KINDS = new Set(['conv', 'convtranspose', 'gemm', 'matmul']);

/**
 * What is quantized, and where: a pure function of the graph, before any number is known.
 *
 * 1. Nodes that stay float are marked: shapes, postprocessing, exclusions, unknown operators.
 * 2. The rest is gathered into groups, each one kernel on the device.
 * 3. Every tensor that an integer group reads gets a quantizer. Nothing inside a group ever does.
 * 4. A tensor behind pass-through operators shares the quantizer of the tensor before them.
 *
 * @throws UserError EXCLUDE_UNKNOWN, OPERATOR_UNKNOWN (with `strict`)
 */
export function planQuantization(graph: Graph, options: PlanOptions): Plan {
  const profile = targetProfile(options.target);
  const causes = floatCauses(graph, options);
  const { groups, folds } = groupNodes(graph, (node) => causes.has(node.name));
  const integer = (group: Group): boolean =>
    profile.integerKinds.has(group.kind) &&
    !causes.has(group.name) &&
    group.inputs.length > 0 &&
    group.inputs.every((input) => graph.isFloat(input)) &&
    graph.isFloat(group.output);
  const decided = groups.map((group) => ({ ...group, quantized: integer(group) }));

  const activations = placeQuantizers(graph, decided, formatFor(options.strategy));
  const quantizedTensors = new Set(activations.map((activation) => activation.tensor));
  for (const group of decided) {
    if (group.kind === 'pass-through' && quantizedTensors.has(group.output)) group.quantized = true;
  }
  const quantized = decided.filter((group) => group.quantized);
  return {
    version: 1,
    strategy: options.strategy,
    target: options.target,
    storage: profile.storage,
    folds,
    groups: decided,
    activations,
    weights: quantized.flatMap((group) => weightPlan(graph, group, profile)),
    concats: quantized
      .filter((group) => group.kind === 'concat' && quantizedTensors.has(group.output))
      .map((group) => ({ node: group.name, inputs: group.inputs, output: group.output })),
    floatNodes: decided
      .filter((group) => !group.quantized)
      .flatMap((group) => floatNodes(graph, group, causes)),
  };
}

type Cause = Pick<FloatNode, 'cause' | 'reason'>;

/** Nodes that stay float for a reason of their own. */
function floatCauses(graph: Graph, options: PlanOptions): Map<string, Cause> {
  const causes = new Map<string, Cause>();
  const excluded = excludedNodes(graph, options.exclude);
  const tail = postprocessingNodes(graph);
  const unknown: GraphNode[] = [];
  for (const node of graph.nodes) {
    const role = operatorRole(node.op, node.domain);
    if (role === undefined) {
      unknown.push(node);
      causes.set(node.name, {
        cause: 'unsupported',
        reason: `dopt does not know the operator ${operatorName(node)}`,
      });
    } else if (excluded.has(node.name)) {
      causes.set(node.name, { cause: 'excluded', reason: 'named by --exclude' });
    } else if (!graph.isFloat(node.outputs.find((output) => output !== '') ?? '')) {
      causes.set(node.name, { cause: 'shape', reason: 'computes shapes or indices, not values' });
    } else if (tail.has(node.name)) {
      causes.set(node.name, {
        cause: 'postprocessing',
        reason: 'leads only to outputs: decoding or postprocessing',
      });
    } else if (role === 'control') {
      causes.set(node.name, { cause: 'unsupported', reason: `${node.op} runs a graph of its own` });
    }
  }
  if (options.strict && unknown.length > 0) {
    const names = [...new Set(unknown.map(operatorName))];
    throw new UserError(
      'OPERATOR_UNKNOWN',
      `The model uses operators that dopt does not know: ${names.join(', ')}.`,
      {
        found: unknown.map((node) => `${node.name} (${operatorName(node)})`).join(', '),
        suggestions: ['Leave --strict out: these operators then stay in float and are listed in the report.'],
      },
    );
  }
  return causes;
}

const operatorName = (node: GraphNode): string => (node.domain ? `${node.domain}.${node.op}` : node.op);

/** Activations: unsigned and asymmetric at 8 bits, signed and symmetric at 16. Zero is exact in both. */
function formatFor(strategy: PlanOptions['strategy']): QuantizerFormat {
  return strategy === 'int8-8'
    ? { bits: 8, signed: false, symmetric: false }
    : { bits: 16, signed: true, symmetric: true };
}

/**
 * One quantizer for each tensor that an integer group reads, and for what those share their parameters with. In graph
 * order, graph inputs first.
 */
function placeQuantizers(graph: Graph, groups: readonly Group[], format: QuantizerFormat): ActivationPlan[] {
  const producerOf = new Map(groups.map((group) => [group.output, group]));
  const wanted = new Map<string, RangeRule>();
  const demand = (tensor: string): void => {
    if (wanted.has(tensor) || graph.isConstant(tensor)) return;
    const rule = rangeRule(graph, tensor, producerOf.get(tensor));
    wanted.set(tensor, rule);
    if (rule.kind === 'shared') demand(rule.with);
  };
  for (const group of groups) {
    if (!group.quantized) continue;
    group.inputs.forEach(demand);
  }
  const position = (tensor: string): number => {
    const producer = graph.producer(tensor);
    return producer ? graph.position(producer) : -1;
  };
  return [...wanted]
    .map(([tensor, range]) => ({
      tensor,
      format,
      range,
      producer: producerOf.get(tensor)?.name ?? null,
      channelAxis: range.kind === 'observed' && depthwiseOnly(graph, tensor, groups) ? 1 : null,
    }))
    .sort((a, b) => position(a.tensor) - position(b.tensor));
}

function rangeRule(graph: Graph, tensor: string, group: Group | undefined): RangeRule {
  const node = graph.producer(tensor);
  if (node && isPassThrough(graph, node)) {
    const source = node.inputs[0]!;
    if (graph.isFloat(source) && !graph.isConstant(source)) return { kind: 'shared', with: source };
  }
  const fixed = FIXED_RANGES.get(group?.activation ?? node?.op ?? '');
  if (fixed) return { kind: 'fixed', ...fixed, because: `result of ${group?.activation ?? node?.op}` };
  return { kind: 'observed' };
}

/**
 * Whether every reader of a tensor is a depthwise convolution. Its channels never meet in a sum, so each may have a scale
 * of its own: it becomes part of the output scale s_x·s_w, which is per channel anyway.
 */
function depthwiseOnly(graph: Graph, tensor: string, groups: readonly Group[]): boolean {
  const quantized = new Map(groups.map((group) => [group.name, group.quantized]));
  const readers = graph.readers(tensor);
  return (
    !graph.isOutput(tensor) &&
    !graph.captured.has(tensor) &&
    readers.every(({ node, index }) => {
      const shape = graph.constant(node.inputs[1] ?? '')?.shape;
      const count = Number(node.attributes.group ?? 1);
      return (
        index === 0 &&
        node.op === 'Conv' &&
        quantized.get(node.name) &&
        count > 1 &&
        shape?.[0] === count &&
        shape[1] === 1
      );
    })
  );
}

/** The weight of a layer: one scale an output channel, along the axis that holds them. */
function weightPlan(graph: Graph, group: Group, profile: TargetProfile): WeightPlan[] {
  if (!WEIGHTED_KINDS.has(group.kind)) return [];
  const node = graph.node(group.name)!;
  const tensor = node.inputs.slice(0, 2).find((input) => graph.constant(input)?.dtype === 'float32');
  if (tensor === undefined) return [];
  const rank = graph.constant(tensor)!.shape.length;
  const perChannel = profile.perChannelLinear || group.kind === 'conv' || group.kind === 'convtranspose';
  return [
    {
      tensor,
      node: node.name,
      format: { bits: 8, signed: true, symmetric: true },
      axis: perChannel ? channelAxis(node, tensor, rank) : null,
      groups: Number(node.attributes.group ?? 1),
    },
  ];
}

function channelAxis(node: GraphNode, weight: string, rank: number): number | null {
  switch (node.op) {
    case 'Conv':
      return 0;
    case 'ConvTranspose':
      return 1;
    case 'Gemm':
      return Number(node.attributes.transB ?? 0) ? 0 : 1;
    default:
      // A constant on the left has its output channels along rows, which DequantizeLinear cannot tell from a batch.
      return node.inputs[1] === weight && rank >= 2 ? rank - 1 : null;
  }
}

function floatNodes(graph: Graph, group: Group, causes: ReadonlyMap<string, Cause>): FloatNode[] {
  return group.nodes.map((name) => {
    const node = graph.node(name)!;
    const cause = causes.get(name) ?? { cause: 'policy' as const, reason: policyReason(group) };
    return { node: name, op: node.op, ...cause };
  });
}

function policyReason(group: Group): string {
  if (group.kind === 'pass-through') return 'moves values that no integer operator reads';
  if (group.kind === 'activation')
    return `${group.activation} stands alone: computed in float between quantized tensors`;
  if (group.kind === 'normalization') return 'normalization is computed in float between quantized tensors';
  return 'computed in float between quantized tensors';
}
