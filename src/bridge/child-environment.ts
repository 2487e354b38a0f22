import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { candidates } from '../native/places.js';

/** Root of the product: the folder with python/, native/ and package.json, in the sources and when installed. */
export const PRODUCT_ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Folder that holds the `dopt` Python package. */
export const PYTHON_ROOT = join(PRODUCT_ROOT, 'python');

/**
 * Libraries that report their use to their makers when nobody asks them not to: onnxruntime 1.30 keeps events in
 * ~/.cache/Microsoft and uploads them; huggingface_hub counts.
 */
export const NO_TELEMETRY = { ORT_DISABLE_TELEMETRY: '1', HF_HUB_DISABLE_TELEMETRY: '1' };

export interface ChildEnvironmentOptions {
  /** Threads for OpenMP and BLAS; all cores when left out. */
  threads?: number;
  /** Path of the native core; found by `nativeLibraryPath` when left out. */
  nativeLibrary?: string;
  /** Keeps the user's PYTHONPATH and user site: a system interpreter may find its packages there. */
  keepUserPaths?: boolean;
  /** Set last, so it wins. A folder in PYTHONPATH goes before the product's. */
  extra?: Record<string, string>;
}

/** Variables that change what a Python interpreter is or where it finds things. */
const FOREIGN = /^(PYTHON.*|__PYVENV_LAUNCHER__|VIRTUAL_ENV|CONDA_PREFIX|NODE_CHANNEL_.*)$/;

/** Environment variables of a Python child: the parent's, without what would change the interpreter, and ours. */
export function childEnvironment(options: ChildEnvironmentOptions = {}): Record<string, string> {
  const { PYTHONPATH: extraPath, ...extra } = options.extra ?? {};
  const inherited: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !FOREIGN.test(name)) inherited[name] = value;
  }
  const userPath = options.keepUserPaths ? process.env.PYTHONPATH : undefined;
  const threads = String(options.threads ?? availableParallelism());
  const nativeLibrary = options.nativeLibrary ?? nativeLibraryPath();
  return {
    // Threads that spin while they wait make a small network in PyTorch thirty times slower as soon as something else
    // wants the cores; threads that sleep cost microseconds.
    OMP_WAIT_POLICY: 'PASSIVE',
    ...inherited,
    ...NO_TELEMETRY,
    ...(nativeLibrary === undefined ? {} : { DOPT_NATIVE_LIB: nativeLibrary }),
    ...(options.keepUserPaths ? {} : { PYTHONNOUSERSITE: '1' }),
    OMP_NUM_THREADS: threads,
    OPENBLAS_NUM_THREADS: threads,
    MKL_NUM_THREADS: threads,
    // Same order of sets and dictionaries of strings in every run, so that the same input gives the same file.
    PYTHONHASHSEED: '0',
    PYTHONUNBUFFERED: '1',
    PYTHONIOENCODING: 'utf-8',
    PYTHONPATH: [extraPath, PYTHON_ROOT, userPath].filter((part) => part).join(delimiter),
    ...extra,
  };
}

/** Path of the native core that is there; undefined where there is none. */
export const nativeLibraryPath = (): string | undefined =>
  process.env.DOPT_NATIVE_LIB || candidates(process.env).find(existsSync);
