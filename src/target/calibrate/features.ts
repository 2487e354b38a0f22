import type { KernelCost, NetworkCost } from '../cost-model.js';
import { PARAMETERS, type Parameter } from '../device.js';
import type { Precision } from '../precision.js';
import { busySeconds, type Pipes } from '../time.js';

/** Factors on the main values of a profile: on rates for the first three, on times for the last three. */
export type ParameterFactors = Readonly<Record<Parameter, number>>;

/** What a kernel asks of a device whose factors are all 1. */
export interface KernelFeatures {
  op: string;
  /** It starts as a layer does. */
  layer: boolean;
  pipes: Pipes;
  overhead: number;
}

/** What a network asks of a device whose factors are all 1: enough to say what it would take with others. */
export interface Features {
  kernels: readonly KernelFeatures[];
  /** Seconds that no factor changes: what runs on the host or in another precision. */
  fixed: number;
  run: number;
  /** Share of moving and computing at the same time. */
  overlap: number;
}

/**
 * Gathers what the kernels of a network ask for. Those that compute in another precision are corrected by that one's
 * measurements, so here they are fixed.
 */
export function featuresOf({ kernels, run }: NetworkCost, precision: Precision, overlap: number): Features {
  const isOwn = (kernel: KernelCost): boolean =>
    kernel.precision === precision && kernel.bound !== 'host' && kernel.seconds > 0;
  return {
    kernels: kernels.filter(isOwn).map(({ kernel, pipes, overhead }) => ({
      op: kernel.op,
      layer: kernel.product !== null,
      pipes,
      overhead,
    })),
    fixed: kernels.reduce((sum, kernel) => sum + (isOwn(kernel) ? 0 : kernel.seconds), 0),
    run,
    overlap,
  };
}

/** Seconds of a network under factors, and factors on the time of its kernels by operator. */
export function secondsWith(
  { kernels, fixed, run, overlap }: Features,
  factors: ParameterFactors,
  kinds: Readonly<Record<string, number>> = {},
): number {
  let seconds = fixed + run * factors.run;
  for (const kernel of kernels) seconds += kernelSeconds(kernel, factors, overlap) * (kinds[kernel.op] ?? 1);
  return seconds;
}

/** Seconds by operator, with what belongs to none under ''. */
export function secondsByOperator(
  { kernels, fixed, run, overlap }: Features,
  factors: ParameterFactors,
  kinds: Readonly<Record<string, number>> = {},
): Map<string, number> {
  const sums = new Map([['', fixed + run * factors.run]]);
  for (const kernel of kernels) {
    const seconds = kernelSeconds(kernel, factors, overlap) * (kinds[kernel.op] ?? 1);
    sums.set(kernel.op, (sums.get(kernel.op) ?? 0) + seconds);
  }
  return sums;
}

function kernelSeconds(
  { layer, pipes, overhead }: KernelFeatures,
  factors: ParameterFactors,
  overlap: number,
): number {
  const { matrix, vector, memory } = factors;
  const corrected = {
    matrix: pipes.matrix / matrix,
    vector: pipes.vector / vector,
    external: pipes.external / memory,
    onChip: pipes.onChip / memory,
    buffers: pipes.buffers / memory,
  };
  const busy = busySeconds(corrected, overlap);
  return busy + overhead * (layer ? factors.layer : factors.operator);
}

/** Factors as their logarithms, in the order of PARAMETERS, and back. */
export const logarithms = (factors: ParameterFactors): number[] =>
  PARAMETERS.map((name) => Math.log(factors[name]));
export const fromLogarithms = (values: readonly number[]): ParameterFactors =>
  Object.fromEntries(PARAMETERS.map((name, index) => [name, Math.exp(values[index]!)])) as ParameterFactors;
