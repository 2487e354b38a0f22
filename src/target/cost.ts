import type { CostOfNetwork, CostResult, LayerCost } from '../config/cost.js';
import type { Target } from '../config/target.js';
import type { CaptureGraphOptions } from '../doors/captured-graph.js';
import { UserError } from '../errors.js';
import { VERSION } from '../version.js';
import { adviceFor } from './advice.js';
import { CostModel, type KernelCost, type NetworkCost } from './cost-model.js';
import { calibrationOf, type Rates } from './device.js';
import { macs } from './kernel.js';
import type { LoweredNetwork } from './lower.js';
import { networkOf } from './network.js';
import type { Precision } from './precision.js';
import { loadTarget } from './target-files.js';
import { intervalOf, supportOf } from './uncertainty.js';

export interface CostOptions extends CaptureGraphOptions {
  /** Names or files of targets; the first is the one that layers are told of. */
  targets: readonly string[];
  /** null for all that each target computes in. */
  precisions: readonly Precision[] | null;
}

/**
 * What a network costs on devices, in precisions.
 *
 * Rejects with UserError TARGET_UNKNOWN, TARGET_INVALID, TARGET_PRECISION (a precision that no target has),
 * COST_DYNAMIC_SHAPE, COST_EMPTY, ZOO_UNKNOWN, GRAPH_BROKEN, and as the doors do.
 */
export async function costOfModel(options: CostOptions): Promise<CostResult> {
  const models = options.targets.map((name) => new CostModel(loadTarget(name)));
  const asked = models.map((model) => precisionsFor(model, options.precisions, models));
  const { name, graph, notes } = await networkOf(options);
  const warnings: string[] = [];
  const costs: CostOfNetwork[] = [];
  const networks = models.map((model) => model.lower(graph));
  models.forEach((model, index) => {
    const network = networks[index]!;
    if (network.kernels.length === 0) throw nothingToCost(options.model);
    if (index === 0) warnings.push(...guesses(network));
    for (const precision of asked[index]!) costs.push(costOnTarget(model, network, precision));
  });
  const { kernels } = networks[0]!;
  return {
    version: 1,
    dopt: VERSION,
    model: {
      name,
      path: options.model,
      macs: kernels.reduce((sum, kernel) => sum + macs(kernel), 0),
      parameters: kernels.reduce((sum, { weights }) => sum + weights, 0),
      notes,
    },
    costs,
    warnings,
  };
}

/** Precisions asked of a target: those it has, where others have the rest; an error where none has one. */
function precisionsFor(
  model: CostModel,
  asked: readonly Precision[] | null,
  models: readonly CostModel[],
): readonly Precision[] {
  if (asked === null) return model.precisions;
  for (const precision of asked)
    if (!models.some(({ precisions }) => precisions.includes(precision))) model.rates(precision);
  return asked.filter((precision) => model.precisions.includes(precision));
}

function nothingToCost(model: string): UserError {
  return new UserError('COST_EMPTY', `${model} computes nothing: there is no operator to judge.`, {
    place: model,
    suggestions: ['Check the outputs: dopt inspect MODEL'],
  });
}

function guesses({ kernels }: LoweredNetwork): string[] {
  const unknown = [...new Set(kernels.filter(({ guessed }) => guessed).map(({ op }) => op))];
  return unknown.map(
    (op) =>
      `dopt does not know the operator ${op}: it is counted as one that moves its values, on the device.`,
  );
}

/** What a network costs on one device in one precision. */
export function costOnTarget(model: CostModel, network: LoweredNetwork, precision: Precision): CostOfNetwork {
  const { target } = model;
  const assignment = { rest: precision };
  const cost = model.cost(network, assignment);
  const support = supportOf(model, network, assignment);
  const rates = model.rates(precision);
  return {
    target: target.name,
    precision,
    seconds: cost.seconds,
    interval: intervalOf(target, precision, cost.seconds, support),
    measured: calibrationOf(target, precision)?.rows ?? 0,
    energy: cost.energy,
    energyMeasured: isEnergyMeasured(target),
    run: cost.run,
    memory: memoryOf(cost),
    layers: cost.kernels.map((kernel) => layerOf(kernel, model.rates(kernel.precision))),
    advice: adviceFor(model, network, assignment, cost),
    restsOn: support,
    peak: { macs: rates.matrix, external: rates.weights, onChip: rates.onChip },
  };
}

const isEnergyMeasured = ({ energy }: Target): boolean =>
  [energy.external, energy.onChip, energy.idle].every(({ status }) => status === 'measured');

function memoryOf({ memory: { weights, arena, peak } }: NetworkCost): CostOfNetwork['memory'] {
  const { bytes, kernel, alive } = peak;
  return { weights, arena, peak: { bytes, layer: kernel, alive: [...alive] } };
}

function layerOf(
  { kernel, precision, seconds, bound, traffic, energy }: KernelCost,
  rates: Rates,
): LayerCost {
  const work = macs(kernel);
  return {
    name: kernel.name,
    op: kernel.op,
    nodes: [...kernel.nodes],
    unit: kernel.unit,
    precision,
    seconds,
    bound,
    utilisation: work > 0 && seconds > 0 ? work / (seconds * rates.matrix) : null,
    macs: work,
    bytes: traffic,
    energy,
    guessed: kernel.guessed,
  };
}
