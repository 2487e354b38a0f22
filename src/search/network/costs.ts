import type { CostName } from '../../config/scenario.js';
import type { Graph } from '../../graph/graph.js';
import { CostModel } from '../../target/cost-model.js';
import { macs } from '../../target/kernel.js';
import type { LoweredNetwork } from '../../target/lower.js';
import type { Precision } from '../../target/precision.js';
import { loadTarget } from '../../target/target-files.js';
import type { Genome } from '../space.js';
import type { Problem, Screen } from '../strategies/strategy.js';
import { graphOf } from './graph.js';
import { canonical, layersOf, type Skeleton, spaceOf } from './layers.js';

/** A limit on one cost: parameters, multiplications and additions, milliseconds, bytes, or joules. */
export interface Limit {
  cost: CostName;
  target: string;
  precision: Precision;
  min: number | null;
  max: number | null;
}

/** The whole network around the searched part. */
export interface Frame {
  skeleton: Skeleton;
  /** Map that the searched part gets. */
  height: number;
  width: number;
  /** What stands before and behind it, where it is known as a graph; else its parameters alone are counted. */
  fixed: readonly Graph[];
}

/** Computes costs of candidates, each once. */
export class Costs {
  private readonly models = new Map<string, { model: CostModel; fixed: LoweredNetwork[] }>();

  constructor(
    private readonly frame: Frame,
    readonly limits: readonly Limit[],
  ) {
    for (const { target } of limits) this.modelOf(target);
  }

  /** Costs by limit, in the order of the limits. */
  of(genome: Genome): number[] {
    const { skeleton, height, width } = this.frame;
    const graph = graphOf(layersOf(skeleton, genome), height, width);
    const lowered = new Map<string, LoweredNetwork[]>();
    return this.limits.map((limit) => {
      const { model, fixed } = this.modelOf(limit.target);
      let parts = lowered.get(limit.target);
      if (!parts) {
        parts = [model.lower(graph), ...fixed];
        lowered.set(limit.target, parts);
      }
      return costOf(model, parts, limit);
    });
  }

  /** Milliseconds of each searched layer by itself on the device of the first limit, without what a start takes. */
  byLayer(genome: Genome): number[] {
    const { skeleton, height, width } = this.frame;
    const { target, precision } = this.limits[0]!;
    const { model } = this.modelOf(target);
    let map = { height, width };
    return layersOf(skeleton, genome).map((layer) => {
      const { height: high, width: wide } = map;
      map = { height: Math.ceil(high / layer.stride), width: Math.ceil(wide / layer.stride) };
      if (layer.block === 'skip') return 0;
      const { seconds } = model.predict(model.lower(graphOf([layer], high, wide)), { rest: precision });
      return 1000 * (seconds - model.rates(precision).run);
    });
  }

  private modelOf(target: string): { model: CostModel; fixed: LoweredNetwork[] } {
    let known = this.models.get(target);
    if (!known) {
      const model = new CostModel(loadTarget(target));
      known = { model, fixed: this.frame.fixed.map((graph) => model.lower(graph)) };
      this.models.set(target, known);
    }
    return known;
  }
}

/** One cost of a network in parts that run one after the other. */
function costOf(model: CostModel, parts: readonly LoweredNetwork[], { cost, precision }: Limit): number {
  const kernels = parts.flatMap((part) => part.kernels);
  switch (cost) {
    case 'size':
      return kernels.reduce((sum, { weights }) => sum + weights, 0);
    case 'flops':
      return kernels.reduce((sum, kernel) => sum + macs(kernel), 0);
    case 'peak_memory':
      return Math.max(...parts.map((part) => model.cost(part, { rest: precision }).memory.peak.bytes));
    default: {
      const predictions = parts.map((part) => model.predict(part, { rest: precision }));
      if (cost === 'energy') return predictions.reduce((sum, { energy }) => sum + energy, 0);
      // A network is started once.
      const starts = (parts.length - 1) * model.rates(precision).run;
      return 1000 * (predictions.reduce((sum, { seconds }) => sum + seconds, 0) - starts);
    }
  }
}

/** By how much limits are broken, as shares of them. */
export const violationOf = (limits: readonly Limit[], values: readonly number[]): number =>
  limits.reduce((sum, { min, max }, index) => {
    const value = values[index]!;
    const over = max === null ? 0 : Math.max(0, value / max - 1);
    return sum + over + (min === null ? 0 : Math.max(0, 1 - value / min));
  }, 0);

/** Candidates whose costs are remembered; a search looks at the same ones again and again. */
const REMEMBERED = 20_000;

/** The search for networks of a frame under limits; the first limit's cost is an objective beside the score. */
export function problemOf(frame: Frame, costs: Costs): Problem {
  const known = new Map<string, Screen>();
  return {
    space: spaceOf(frame.skeleton),
    canonical: (genome) => canonical(frame.skeleton, genome),
    screen: (genome) => {
      const key = genome.join();
      const before = known.get(key);
      if (before) return before;
      const values = costs.of(genome);
      const screen: Screen = {
        costs: values.slice(0, 1),
        violation: violationOf(costs.limits, values),
        features: values.map((value) => Math.log(Math.max(value, Number.MIN_VALUE))),
      };
      if (known.size >= REMEMBERED) known.clear();
      known.set(key, screen);
      return screen;
    },
  };
}
