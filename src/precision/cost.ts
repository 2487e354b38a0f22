import type { Plan } from '../config/plan.js';
import { UserError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { LAYER_KINDS, valueTensors } from '../quantize/plan/integer-groups.js';
import { CostModel } from '../target/cost-model.js';
import { floatPrecision } from '../target/device.js';
import type { LoweredNetwork } from '../target/lower.js';
import type { Precision } from '../target/precision.js';
import { loadTarget } from '../target/target-files.js';

/** What a plan costs on its target: predicted seconds, or a relative figure where shapes are not known. */
export interface PlanCost {
  unit: 'seconds' | 'relative';
  of(plan: Plan): number;
}

/** The cost of plans of one graph. */
export function planCost(graph: Graph, target: string): PlanCost {
  const model = new CostModel(loadTarget(target));
  const float = floatPrecision(model.target) ?? 'fp32';
  let network: LoweredNetwork;
  try {
    network = model.lower(graph);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { unit: 'relative', of: (plan) => relativeCost(graph, plan, layerPrecisions(graph, plan, float)) };
  }
  return {
    unit: 'seconds',
    of: (plan) => {
      const layers = layerPrecisions(graph, plan, float);
      return model.predict(network, { rest: plan.strategy === 'int8-8' ? 'int8' : 'int16', layers }).seconds;
    },
  };
}

/** What each layer of a plan computes in, by the names of its nodes: as wide as the widest tensor that it reads. */
function layerPrecisions(graph: Graph, plan: Plan, float: Precision): Map<string, Precision> {
  const bits = new Map(plan.activations.map(({ tensor, format }) => [tensor, format.bits]));
  return new Map(
    plan.groups.flatMap((group) => {
      const wide = valueTensors(graph, group).some((tensor) => bits.get(tensor) === 16);
      const precision: Precision = !group.quantized ? float : wide ? 'int16' : 'int8';
      return group.nodes.map((node) => [node, precision] as const);
    }),
  );
}

/** Bits that are read of the weights and multiplied with: all that can be said without shapes of activations. */
function relativeCost(graph: Graph, plan: Plan, layers: ReadonlyMap<string, Precision>): number {
  const factor = (node: string): number => {
    const precision = layers.get(node);
    return precision === 'int8' ? 1 : precision === 'int16' ? 2 : 4;
  };
  return plan.groups
    .filter(({ kind }) => LAYER_KINDS.has(kind))
    .reduce((sum, { name }) => {
      const node = graph.node(name)!;
      const sizes = node.inputs.map((input) => graph.constant(input)?.shape.reduce((a, b) => a * b, 1) ?? 0);
      return sum + factor(name) * Math.max(1, ...sizes);
    }, 0);
}
