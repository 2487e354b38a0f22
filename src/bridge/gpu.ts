import { existsSync } from 'node:fs';
import { EnvironmentError } from '../errors.js';
import type { Environment } from './environments.js';
import type { Params, Result } from './protocol.js';
import { PythonRuntime } from './runtime.js';

/** What may compute on a GPU: a framework, or the CUDA core as Python loads it. */
export type GpuFramework = Params<'gpus'>['frameworks'][number];

/** The devices that a framework of an environment sees, or why it sees none. */
export type GpuState = Result<'gpus'>['frameworks'][string];

/** A GPU that work was asked to run on, and that can be used. */
export interface Gpu {
  /** As the framework counts. */
  index: number;
  name: string;
  /** Bytes; null where the framework does not say. */
  memory: number | null;
}

/** Where NVIDIA's driver shows itself: on Linux, and on Linux inside of Windows. */
const DRIVER = ['/proc/driver/nvidia/version', '/dev/nvidiactl', '/dev/dxg'];

/** Why no GPU can be there; null where one may. */
export const noDriver = (places: readonly string[] = DRIVER): string | null =>
  places.some((place) => existsSync(place)) ? null : 'this machine has no NVIDIA driver';

/**
 * Ends at once where a GPU was asked for and none can be there, before an environment is looked for or made.
 * @throws EnvironmentError GPU_UNAVAILABLE
 */
export function requireDriver(index: number | null | undefined, reason: string | null = noDriver()): void {
  if (index === null || index === undefined || reason === null) return;
  throw unavailable(index, reason, 'no GPU', []);
}

/** Importing a framework may take a minute on a busy machine. */
const TIMEOUT_MS = 300_000;

/**
 * The GPU of an index, asked for with `--device cuda`; null where none was. What cannot use it ends here, before any work.
 *
 * Rejects with EnvironmentError GPU_UNAVAILABLE, and as `PythonRuntime.invoke` does.
 */
export async function requireGpu(
  environment: Environment,
  framework: GpuFramework,
  index: number | null,
  signal?: AbortSignal,
): Promise<Gpu | null> {
  if (index === null) return null;
  const state = (await gpuStates(environment, [framework], signal))[framework]!;
  return chooseGpu(state, index, environment.profile);
}

/** What frameworks of an environment say about GPUs. */
export async function gpuStates(
  environment: Environment,
  frameworks: GpuFramework[],
  signal?: AbortSignal,
): Promise<Record<string, GpuState>> {
  await using runtime = new PythonRuntime(environment);
  const options = { timeoutMs: TIMEOUT_MS, ...(signal ? { signal } : {}) };
  return (await runtime.invoke('gpus', { frameworks }, options)).frameworks;
}

/** The device of an index. @throws EnvironmentError GPU_UNAVAILABLE */
export function chooseGpu({ devices, reason }: GpuState, index: number, profile: string): Gpu {
  const device = devices[index];
  if (reason === null && device && device.reason === null) {
    return { index, name: device.name, memory: device.memory };
  }
  const counted = `there ${devices.length === 1 ? 'is 1' : `are ${devices.length}`}, numbered from 0`;
  const found = devices.map(({ name }, at) => `${at}: ${name}`).join(', ') || 'no GPU';
  throw unavailable(index, reason ?? device?.reason ?? counted, found, [
    profile === 'current'
      ? 'Use an interpreter of your own: --env system'
      : 'Newer packages know newer GPUs: --profile current',
  ]);
}

const unavailable = (index: number, reason: string, found: string, more: string[]): EnvironmentError =>
  new EnvironmentError('GPU_UNAVAILABLE', `GPU ${index} cannot be used: ${reason}.`, {
    found,
    suggestions: [
      'See what is lacking: dopt env doctor',
      ...more,
      'Leave --device cuda out: the processor computes the same.',
    ],
  });
