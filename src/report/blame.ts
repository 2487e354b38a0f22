import type { Plan } from '../config/plan.js';
import type { TensorComparison } from '../config/verification.js';

/**
 * Noise over signal of each measured tensor. Noise on a silent tensor counts as as much noise as signal.
 */
export function noiseRatios(tensors: readonly TensorComparison[]): Map<string, number> {
  return new Map(
    tensors.map(({ name, signal, noise }) => [name, noise === 0 ? 0 : noise / (signal || noise)]),
  );
}

/**
 * What of a tensor's noise arises at it: its noise-to-signal ratio less the largest among the tensors that its producer
 * reads, not below zero. Where an input was not measured, the tensors before it count instead. A graph input has all its
 * noise to itself.
 *
 * @param ratios noise over signal by tensor name
 */
export function blame(
  plan: Pick<Plan, 'groups' | 'activations'>,
  ratios: ReadonlyMap<string, number>,
): Map<string, number> {
  const byName = new Map(plan.groups.map((group) => [group.name, group]));
  const producers = new Map(plan.groups.map((group) => [group.output, group]));
  for (const { tensor, producer } of plan.activations) {
    const group = producer === null ? undefined : byName.get(producer);
    if (group) producers.set(tensor, group);
  }
  const arriving = (tensor: string, visited: Set<string>): number => {
    if (visited.has(tensor)) return 0;
    visited.add(tensor);
    const inputs = producers.get(tensor)?.inputs ?? [];
    return inputs.reduce((most, input) => Math.max(most, ratios.get(input) ?? arriving(input, visited)), 0);
  };
  return new Map(
    [...ratios].map(([tensor, ratio]) => [tensor, Math.max(0, ratio - arriving(tensor, new Set()))]),
  );
}
