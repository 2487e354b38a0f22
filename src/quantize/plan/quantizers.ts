import type { GraphNode } from '../../config/graph.js';
import type { ActivationPlan, Group, QuantizerFormat, RangeRule } from '../../config/plan.js';
import type { Graph } from '../../graph/graph.js';
import { FIXED_RANGES } from '../../graph/operators.js';
import type { TargetProfile } from '../../target/profiles.js';
import { LAYER_KINDS, valueTensors } from './integer-groups.js';

/** What quantizers are placed by. */
interface Scene {
  graph: Graph;
  /** The group of each node. */
  groupOf: ReadonlyMap<string, Group>;
  /** Groups that compute in integers, or move integers. */
  integer: ReadonlySet<Group>;
  profile: TargetProfile;
  /** Rules found so far. */
  known: Map<string, RangeRule>;
}

/**
 * One quantizer for each tensor that an integer group computes with, and for what those share their parameters with; none
 * for the result of a layer that adds another tensor to it before it stores anything. In graph order, graph inputs first. A group that only moves values asks for nothing by itself.
 */
export function placeQuantizers(
  graph: Graph,
  groups: readonly Group[],
  integer: ReadonlySet<Group>,
  profile: TargetProfile,
  format: QuantizerFormat,
): ActivationPlan[] {
  const groupOf = new Map(groups.flatMap((group) => group.nodes.map((name) => [name, group] as const)));
  const scene: Scene = { graph, groupOf, integer, profile, known: new Map() };
  const rules = new Map<string, RangeRule>();
  const demand = (tensor: string): void => {
    if (rules.has(tensor)) return;
    const rule = rangeRule(scene, tensor);
    rules.set(tensor, rule);
    if (rule.kind === 'shared') demand(rule.with);
  };
  for (const group of groups) {
    if (!integer.has(group) || group.kind === 'pass-through') continue;
    const inside = addedInside(scene, group);
    for (const tensor of valueTensors(graph, group)) if (tensor !== inside) demand(tensor);
  }
  const position = (tensor: string): number => {
    const producer = graph.producer(tensor);
    return producer ? graph.position(producer) : -1;
  };
  return [...rules]
    .map(([tensor, rule]): [string, RangeRule] => [tensor, gridOfRelu(scene, tensor, rules) ?? rule])
    .sort(([a], [b]) => position(a) - position(b))
    .map(([tensor, range]) => ({
      tensor,
      format,
      range,
      producer: producerGroup(scene, tensor)?.name ?? null,
      channelAxis: range.kind === 'observed' && depthwiseOnly(scene, tensor) ? 1 : null,
    }));
}

/**
 * The term of a sum that a layer adds the other one to before it stores its result; null where the target has no such
 * layers or the sum does not fit one. Of two layers the later one, as the cost model has it (src/target/lower.ts).
 */
export function addedInside(
  { graph, groupOf, integer, profile }: Pick<Scene, 'graph' | 'groupOf' | 'integer' | 'profile'>,
  group: Group,
): string | null {
  if (!profile.fusesSums || group.kind !== 'add') return null;
  const terms = valueTensors(graph, group);
  const size = (tensor: string): string => JSON.stringify(graph.shape(tensor) ?? null);
  const sum = size(graph.node(group.name)!.outputs[0]!);
  const fits = (term: string): boolean => {
    const producer = graph.producer(term);
    const layer = producer && groupOf.get(producer.name);
    return (
      layer !== undefined &&
      integer.has(layer) &&
      LAYER_KINDS.has(layer.kind) &&
      layer.activation === null &&
      graph.soleReader(term)?.name === group.name &&
      size(term) === sum
    );
  };
  const found = terms.length === 2 ? terms.filter(fits) : [];
  const position = (term: string): number => graph.position(graph.producer(term)!);
  return found.reduce<string | null>(
    (last, term) => (last === null || position(term) > position(last) ? term : last),
    null,
  );
}

const producerGroup = ({ graph, groupOf }: Scene, tensor: string): Group | undefined =>
  groupOf.get(graph.producer(tensor)?.name ?? '');

function rangeRule(scene: Scene, tensor: string): RangeRule {
  const known = scene.known.get(tensor);
  if (known) return known;
  const rule = findRule(scene, tensor);
  scene.known.set(tensor, rule);
  return rule;
}

function findRule(scene: Scene, tensor: string): RangeRule {
  const group = producerGroup(scene, tensor);
  if (!group) return { kind: 'observed' };
  if (scene.integer.has(group) && (group.kind === 'pass-through' || group.kind === 'concat')) {
    const source = commonSource(scene, group);
    if (source !== null) return { kind: 'shared', with: source };
  }
  const name = group.activation ?? scene.graph.producer(tensor)!.op;
  const fixed = FIXED_RANGES.get(name);
  return fixed ? { kind: 'fixed', ...fixed, because: `result of ${name}` } : { kind: 'observed' };
}

/**
 * The tensor whose parameters a group hands on: the one it moves values of. A concatenation has one when all its parts
 * go back to the same tensor, as the slices of a space-to-depth written out do.
 */
function commonSource(scene: Scene, group: Group): string | null {
  const { graph } = scene;
  const sources = valueTensors(graph, group);
  const node = graph.node(group.name)!;
  if (group.kind !== 'concat') return sources[0]!;
  if (node.inputs.some((input) => graph.isConstant(input))) return null;
  const [root, ...others] = sources.map((source) => rootOf(scene, source));
  return others.every((other) => other === root) ? sources[0]! : null;
}

/** The tensor at the end of a chain of shared parameters. */
function rootOf(scene: Scene, tensor: string): string {
  const rule = rangeRule(scene, tensor);
  return rule.kind === 'shared' ? rootOf(scene, rule.with) : tensor;
}

/** Where tensors are stored as integers, a Relu of one is on its grid: a grid of its own would round once more. */
function gridOfRelu(scene: Scene, tensor: string, rules: ReadonlyMap<string, RangeRule>): RangeRule | null {
  const group = producerGroup(scene, tensor);
  if (scene.profile.storage !== 'integer' || group?.kind !== 'activation' || group.activation !== 'Relu')
    return null;
  const source = group.nodes.length === 1 ? group.inputs[0] : undefined;
  return source !== undefined && rules.has(source) ? { kind: 'shared', with: source } : null;
}

/**
 * Whether every reader of a tensor is a depthwise convolution. Its channels never meet in a sum, so each may have a scale
 * of its own: it becomes part of the output scale s_x·s_w, which is per channel anyway where weights have a scale a
 * channel.
 */
function depthwiseOnly({ graph, groupOf, integer, profile }: Scene, tensor: string): boolean {
  return (
    profile.perChannelConv &&
    !graph.isOutput(tensor) &&
    graph.capturers(tensor).length === 0 &&
    graph
      .readers(tensor)
      .every(
        ({ node, index }) => index === 0 && integer.has(groupOf.get(node.name)!) && isDepthwise(graph, node),
      )
  );
}

function isDepthwise(graph: Graph, node: GraphNode): boolean {
  const shape = graph.constant(node.inputs[1])?.shape;
  const count = Number(node.attributes.group ?? 1);
  return node.op === 'Conv' && count > 1 && shape?.[0] === count && shape[1] === 1;
}
