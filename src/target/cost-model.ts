import type { Target } from '../config/target.js';
import type { Graph } from '../graph/graph.js';
import { type Assignment, FormatRules, type Formats } from './assignment.js';
import { precisionsOf, type Rates, ratesOf } from './device.js';
import { kernelEnergy } from './energy.js';
import type { Kernel, TensorSize } from './kernel.js';
import { type LoweredNetwork, type LoweringRules, lowerGraph } from './lower.js';
import { type MemoryPlan, planMemory } from './memory.js';
import type { Precision } from './precision.js';
import type { Tiling } from './tiling.js';
import { type KernelTime, kernelTime } from './time.js';

/** What a network costs, in a moment. */
export interface Prediction {
  seconds: number;
  /** Joules, relative unless the profile's energies were measured. */
  energy: number;
}

/** A kernel with what it costs. */
export interface KernelCost extends KernelTime {
  kernel: Kernel;
  precision: Precision;
  energy: number;
}

export interface NetworkCost extends Prediction {
  kernels: readonly KernelCost[];
  /** Seconds for starting the network. */
  run: number;
  memory: MemoryPlan;
}

/**
 * Latency, memory and energy of networks on one device.
 *
 *     const model = new CostModel(loadTarget('kirin9020'));
 *     const network = model.lower(graph);                       // once a graph
 *     model.predict(network, { rest: 'int8', layers });         // thousands of times a second
 *
 * `layers` names layers by any of their nodes; a layer that has no form in the precision asked for computes in float, as
 * the device would. `predict` and `cost` give the same seconds and energy; `cost` also says where they come from. All
 * functions are pure but for what the model remembers of tilings, which changes no result.
 *
 * @throws UserError COST_DYNAMIC_SHAPE (lower), TARGET_PRECISION (predict, cost)
 */
export class CostModel {
  private readonly rules: LoweringRules;
  private readonly formatRules: FormatRules;
  private readonly known = new Map<Precision, Rates>();

  /** @param tilings that a model of the same buffers has found already: rates do not change them */
  constructor(
    readonly target: Target,
    private readonly tilings = new Map<string, Tiling>(),
  ) {
    this.rules = loweringRules(target);
    this.formatRules = new FormatRules(target);
  }

  /** Precisions that layers can compute in. */
  get precisions(): Precision[] {
    return precisionsOf(this.target);
  }

  /** The same device with other rates: what is known of tilings stays. */
  withRates(target: Target): CostModel {
    return new CostModel(target, this.tilings);
  }

  /** What the device does in a second in a precision. */
  rates(precision: Precision): Rates {
    let rates = this.known.get(precision);
    if (!rates) {
      rates = ratesOf(this.target, precision);
      this.known.set(precision, rates);
    }
    return rates;
  }

  /** The kernels that the device makes of a graph. */
  lower(graph: Graph): LoweredNetwork {
    return lowerGraph(graph, this.rules);
  }

  /** Whether a layer can compute in integers on the device. */
  takesIntegers(kernel: Kernel): boolean {
    return this.formatRules.takesIntegers(kernel);
  }

  /** What kernels compute in, and how wide tensors lie in memory; rates do not change it. */
  formats(network: LoweredNetwork, assignment: Assignment): Formats {
    return this.formatRules.formats(network, assignment);
  }

  /** @param formats of the same network and assignment, where they are known already */
  predict(
    network: LoweredNetwork,
    assignment: Assignment,
    formats = this.formats(network, assignment),
  ): Prediction {
    let seconds = this.rates(assignment.rest).run;
    let energy = 0;
    this.each(network, formats, (kernel, precision, time) => {
      seconds += time.seconds;
      energy += kernelEnergy(kernel, time, this.target, precision);
    });
    return { seconds, energy };
  }

  cost(network: LoweredNetwork, assignment: Assignment): NetworkCost {
    const formats = this.formats(network, assignment);
    const kernels: KernelCost[] = [];
    this.each(network, formats, (kernel, precision, time) => {
      kernels.push({
        ...time,
        kernel,
        precision,
        energy: kernelEnergy(kernel, time, this.target, precision),
      });
    });
    const { run } = this.rates(assignment.rest);
    return {
      seconds: kernels.reduce((sum, { seconds }) => sum + seconds, run),
      energy: kernels.reduce((sum, { energy }) => sum + energy, 0),
      kernels,
      run,
      memory: planMemory(network, formats, this.target.memory.channelBlock.value),
    };
  }

  private each(
    { kernels, tensors }: LoweredNetwork,
    { precisions, bits }: Formats,
    visit: (kernel: Kernel, precision: Precision, time: KernelTime) => void,
  ): void {
    const size = (tensor: string): TensorSize => tensors.get(tensor)!;
    const width = (tensor: string): number => bits.get(tensor)!;
    kernels.forEach((kernel, index) => {
      const precision = precisions[index]!;
      visit(kernel, precision, kernelTime(kernel, this.rates(precision), size, width, this.tilings));
    });
  }
}

/** What a profile says about fusing and about what runs elsewhere. */
export function loweringRules({ operators }: Target): LoweringRules {
  return {
    fusedFunctions: new Set(operators.fusedFunctions.value),
    fusesSums: operators.fusesSums.value,
    freeConcat: operators.freeConcat.value,
    host: new Set(operators.host.value),
    fillsStrides: operators.fillsStrides?.value ?? false,
    passes: operators.passes?.value ?? {},
  };
}
