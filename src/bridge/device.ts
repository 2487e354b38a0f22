import type { Progress } from '../cli/progress.js';
import { type Environment, ensureEnvironment } from './environments.js';
import { chooseGpu, type Gpu, gpuStates, requireDriver } from './gpu.js';
import type { EnvironmentKind } from './profiles.js';
import type { MethodName, Params } from './protocol.js';

/** What runs networks on a GPU: an environment whose onnxruntime, or else whose PyTorch, can. */
export interface Device {
  gpu: Gpu;
  environment: Environment;
  executor: NonNullable<Params<'observe'>['executor']>;
}

/** Methods that run networks over samples, and do so on a device where there is one. */
const METHODS = new Set<MethodName>([
  'observe',
  'observeChannels',
  'profile',
  'refine',
  'sensitivity',
  'compareSamples',
  'compareRewrites',
]);

/**
 * The GPUs of these indices, with what computes there: onnxruntime where it is the one for GPUs, else PyTorch; null for the
 * processor. Calibration deals its samples out to all of them, the rest is computed on the first. `venv` and `docker` take the
 * profile `current`, `system` the user's interpreter.
 *
 * Rejects with EnvironmentError GPU_UNAVAILABLE, and as `ensureEnvironment` does.
 */
export async function openDevice(
  indices: readonly number[] | null | undefined,
  kind: EnvironmentKind,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<Device | null> {
  const [index, ...others] = indices ?? [];
  if (index === undefined) return null;
  requireDriver(index);
  const environment = await ensureEnvironment(kind === 'system' ? 'onnx' : 'current', kind, {
    onProgress: (line) => progress.note(line),
    gpu: true,
  });
  const { onnxruntime, torch } = await gpuStates(environment, ['onnxruntime', 'torch'], signal);
  const byOnnx = onnxruntime!.reason === null;
  // onnxruntime counts no devices: without PyTorch or the CUDA core beside it, it is asked when it starts.
  const unknown = byOnnx && onnxruntime!.devices.length === 0;
  const gpu = unknown
    ? { index, name: `GPU ${index}`, memory: null }
    : chooseGpu(byOnnx ? onnxruntime! : torch!, index, environment.profile);
  const beside = unknown
    ? []
    : others.map((one) => chooseGpu(byOnnx ? onnxruntime! : torch!, one, environment.profile));
  const executor = { kind: byOnnx ? 'onnxruntime' : 'torch', gpu: index, others } as const;
  const names = [gpu, ...beside].map(({ name }) => name).join(', ');
  progress.note(`device: ${names}, by ${byOnnx ? 'onnxruntime' : 'PyTorch'} ${environment.how}`);
  return { gpu, environment, executor };
}

/** Where a method runs, and with which parameters. Pure. */
export function placed<M extends MethodName>(
  method: M,
  params: Params<M>,
  environment: Environment,
  device: Device | null | undefined,
): { params: Params<M>; environment: Environment } {
  if (!device || !METHODS.has(method)) return { params, environment };
  return { params: { ...params, executor: device.executor }, environment: device.environment };
}

/** What of a device decides results, for keys of stages: nothing for the processor. */
export const deviceKey = (device: Device | null | undefined): { device?: string } =>
  device ? { device: device.executor.kind } : {};
