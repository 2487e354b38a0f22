import type { PredictedCost } from '../config/cost.js';
import type { Plan } from '../config/plan.js';
import { UserError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { LAYER_KINDS, valueTensors } from '../quantize/plan/integer-groups.js';
import type { Assignment } from '../target/assignment.js';
import { CostModel } from '../target/cost-model.js';
import { calibrationOf, floatPrecision } from '../target/device.js';
import type { LoweredNetwork } from '../target/lower.js';
import { withFixedBatch } from '../target/network.js';
import { PRECISIONS, type Precision } from '../target/precision.js';
import { loadTarget } from '../target/target-files.js';
import { intervalOf, supportOf } from '../target/uncertainty.js';

/** What a plan costs on its target: predicted seconds, or a relative figure where shapes are not known. */
export interface PlanCost {
  unit: 'seconds' | 'relative';
  of(plan: Plan): number;
}

/** The cost of plans of one graph. */
export function planCost(graph: Graph, target: string): PlanCost {
  const model = new CostModel(loadTarget(target));
  const network = loweredOr(model, graph);
  if (!network) {
    const float = widestPrecision(model);
    return { unit: 'relative', of: (plan) => relativeCost(graph, plan, layerPrecisions(graph, plan, float)) };
  }
  return {
    unit: 'seconds',
    of: (plan) => model.predict(network, assignmentOf(model, graph, plan)).seconds,
  };
}

/**
 * What the cost model predicts of a model in float and as it was planned, one sample at a time; null where sizes of its
 * tensors are not known.
 */
export function predictedCost(graph: Graph, plan: Plan, target: string): PredictedCost | null {
  const model = new CostModel(loadTarget(target));
  const network = loweredOr(model, graph);
  if (!network || network.kernels.length === 0) return null;
  const cost = (assignment: Assignment): PredictedCost['quantized'] => {
    const { seconds, energy } = model.predict(network, assignment);
    const support = supportOf(model, network, assignment);
    return {
      precision: assignment.rest,
      seconds,
      interval: intervalOf(model.target, assignment.rest, seconds, support),
      energy,
      measured: calibrationOf(model.target, assignment.rest)?.rows ?? 0,
    };
  };
  const float = floatPrecision(model.target);
  return {
    target: model.target.name,
    float: float && cost({ rest: float }),
    quantized: cost(assignmentOf(model, graph, plan)),
  };
}

/** Kernels of a graph, of one sample where the batch is open; null where sizes are not known. */
function loweredOr(model: CostModel, graph: Graph): LoweredNetwork | null {
  try {
    return model.lower(withFixedBatch(graph));
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}

const assignmentOf = (model: CostModel, graph: Graph, plan: Plan): Assignment => ({
  rest: plan.strategy === 'int8-8' ? 'int8' : 'int16',
  layers: layerPrecisions(graph, plan, widestPrecision(model)),
});

/** What layers compute in that are not quantized: a device without floating point takes its widest integers. */
const widestPrecision = (model: CostModel): Precision =>
  floatPrecision(model.target) ??
  [...model.precisions].sort((a, b) => PRECISIONS[b].activations - PRECISIONS[a].activations)[0]!;

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
