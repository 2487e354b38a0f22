import type { Target } from '../config/target.js';
import { type Kernel, macs } from './kernel.js';
import type { Precision } from './precision.js';
import type { KernelTime } from './time.js';

/**
 * Energy of a kernel in joules: multiplications, operations of the vector unit, bytes of each memory, and what the device
 * takes while it waits (Wu, Emer, Sze, "Accelergy", ICCAD 2019: counts of actions times the energy of one). It is
 * relative: good for comparing networks and precisions on one device, unless the profile's values were measured.
 */
export function kernelEnergy(
  kernel: Kernel,
  { traffic, seconds }: KernelTime,
  { energy }: Target,
  precision: Precision,
): number {
  const perMac = energy.mac[precision]?.value ?? 0;
  return (
    macs(kernel) * perMac +
    kernel.vector * energy.vector.value +
    (traffic.weights + traffic.external) * energy.external.value +
    traffic.onChip * energy.onChip.value +
    seconds * energy.idle.value
  );
}
