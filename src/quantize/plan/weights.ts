import type { GraphNode } from '../../config/graph.js';
import type { Group, WeightPlan } from '../../config/plan.js';
import type { Graph } from '../../graph/graph.js';
import type { TargetProfile } from '../../target/profiles.js';
import { LAYER_KINDS } from './integer-groups.js';

/**
 * The weight of a layer: one scale an output channel, along the axis that holds them, where the target has that. A weight that several layers share
 * is listed, and later written, once for each: their batch normalizations and inputs differ. A weight that is computed is
 * an activation like any other and not listed.
 */
export function weightPlan(graph: Graph, group: Group, profile: TargetProfile): WeightPlan[] {
  if (!LAYER_KINDS.has(group.kind)) return [];
  const node = graph.node(group.name)!;
  const index = [1, 0].find((input) => graph.constant(node.inputs[input])?.dtype === 'float32');
  if (index === undefined) return [];
  const tensor = node.inputs[index]!;
  const isConv = group.kind === 'conv' || group.kind === 'convtranspose';
  const perChannel = isConv ? profile.perChannelConv : profile.perChannelLinear;
  return [
    {
      tensor,
      node: node.name,
      format: { bits: 8, signed: true, symmetric: true },
      axis: perChannel && index === 1 ? outputChannelAxis(node, graph.constant(tensor)!.shape.length) : null,
      groups: Number(node.attributes.group ?? 1),
    },
  ];
}

/**
 * Axis of the output channels in a weight on the right. On the left they would lie along the rows of the result, where
 * neither the bias nor its correction could follow: such a weight has one scale.
 */
export function outputChannelAxis(node: GraphNode, rank: number): number | null {
  switch (node.op) {
    case 'Conv':
      return 0;
    case 'ConvTranspose':
      return 1;
    case 'Gemm':
      return Number(node.attributes.transB ?? 0) ? 0 : 1;
    default:
      return rank >= 2 ? rank - 1 : null;
  }
}
