import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type * as Koffi from 'koffi';

/**
 * The CUDA core as Node sees it: what `dopt env doctor` asks of it. Tensors on a GPU are reached from Python alone
 * (python/dopt/native_cuda.py), where the frameworks keep them.
 */
export const CUDA_ABI_VERSION = 1;

export const CUDA_SIGNATURES = {
  dopt_cuda_abi_version: ['int32_t', []],
  dopt_cuda_build_info: ['str', []],
  dopt_cuda_last_error: ['str', []],
  dopt_cuda_device_count: ['int32_t', ['void *']],
  dopt_cuda_device_info: ['int32_t', ['int32_t', 'void *', 'size_t']],
} as const satisfies Record<string, readonly [string, readonly string[]]>;

/** A GPU that the core has code for. */
export interface CudaDevice {
  name: string;
  /** As NVIDIA counts, `9.0` for an H100. */
  capability: string;
  multiprocessors: number;
  /** Bytes. */
  memory: number;
  /** Newest CUDA that the driver serves. */
  driver: string;
}

/** What is known of the CUDA core on this machine. */
export interface CudaState {
  /** The library, null where it is not built. */
  path: string | null;
  /** Release of CUDA and architectures of the build. */
  build: { abi: number; runtime: string; architectures: string } | null;
  devices: CudaDevice[];
  /** Why there are no devices; null when there are. */
  reason: string | null;
}

/** Where the library is looked for: `DOPT_NATIVE_CUDA_LIB`, else native/build/lib. */
export function cudaLibraryPath(environment: NodeJS.ProcessEnv): string {
  // From src/native and from dist/native alike.
  const built = fileURLToPath(new URL('../../native/build/lib/libdopt_cuda.so', import.meta.url));
  return environment.DOPT_NATIVE_CUDA_LIB || built;
}

/** Opens the CUDA core at `path`, if it is there, and asks it for its devices. Never throws. */
export function cudaState(path: string): CudaState {
  const none = { path: null, build: null, devices: [] };
  if (!existsSync(path)) return { ...none, reason: `${path} is not built` };
  try {
    const call = openCuda(path);
    const build = JSON.parse(String(call.dopt_cuda_build_info())) as NonNullable<CudaState['build']>;
    const { devices, reason } = findDevices(call);
    return { path, build, devices, reason };
  } catch (error) {
    return { ...none, path, reason: error instanceof Error ? error.message : String(error) };
  }
}

type Calls = Record<keyof typeof CUDA_SIGNATURES, (...args: unknown[]) => unknown>;

function openCuda(path: string): Calls {
  const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
  const library = koffi.load(path);
  const call = Object.fromEntries(
    Object.entries(CUDA_SIGNATURES).map(([name, [result, args]]) => [
      name,
      library.func(name, result, [...args]),
    ]),
  ) as unknown as Calls;
  const abi = call.dopt_cuda_abi_version();
  if (abi !== CUDA_ABI_VERSION) {
    throw new Error(`interface version ${abi}, this dopt needs ${CUDA_ABI_VERSION}: run npm run build:cuda`);
  }
  return call;
}

function findDevices(call: Calls): Pick<CudaState, 'devices' | 'reason'> {
  const said = () => String(call.dopt_cuda_last_error());
  const count = new Int32Array(1);
  if (call.dopt_cuda_device_count(count) !== 0) return { devices: [], reason: said() };
  const devices: CudaDevice[] = [];
  let reason = 'the driver shows no device';
  const text = Buffer.alloc(512);
  for (let device = 0; device < count[0]!; device++) {
    if (call.dopt_cuda_device_info(device, text, text.length) === 0) {
      devices.push(JSON.parse(text.toString('utf8', 0, text.indexOf(0))) as CudaDevice);
    } else {
      reason = said();
    }
  }
  return { devices, reason: devices.length > 0 ? null : reason };
}
