import { dirname } from 'node:path';
import { PYTHON_ROOT } from '../child-environment.js';
import type { Engine } from './engine.js';
import { type Mount, mountsFor } from './mounts.js';

/** A container that can run the jobs of a profile. */
export interface Container {
  engine: Engine;
  /** Name with tag, made by `ensureImage`. */
  image: string;
  /** GPUs it gets, as `docker run --gpus` takes them: `all`, `device=0,1`; null for none. */
  gpus: string | null;
}

/** A job to run in a container. */
export interface ContainerJob {
  container: Container;
  /** Unique among the containers of this machine. */
  name: string;
  method: string;
  params: unknown;
  /** job.json, in a folder of its own. */
  file: string;
  env: Record<string, string>;
  user: { uid: number; gid: number } | null;
}

/** Variables that say where something lies on this machine, or that the image sets itself. */
const OF_THIS_MACHINE =
  /^(PATH|HOME|DOPT_NATIVE_LIB|DOPT_CUDA_LIB|PYTHONPATH|LD_LIBRARY_PATH|LD_PRELOAD|TMPDIR)$/;
/** What a job may take from the caller's environment; everything else stays outside. */
const TAKEN =
  /^(DOPT_.*|PYTHON.*|OMP_.*|MKL_.*|OPENBLAS_.*|ORT_DISABLE_TELEMETRY|TF_.*|CUDA_VISIBLE_DEVICES|LANG|LC_.*|TZ)$/;

/** Size of /dev/shm: workers of PyTorch's data loaders pass batches through it; engines give 64 MB. */
const SHARED_MEMORY = '1g';

/**
 * The arguments of an engine that run `python -m dopt.job FILE` in a container: nothing can be written but the folders that
 * the job writes and /tmp, there is no network, and the process has the caller's user and group.
 *
 * An engine passes no descriptors but the first three, so events leave as standard output, and what Python prints joins
 * standard error. Standard input is a leash: the job ends when it closes (python/dopt/lifetime.py).
 */
export function containerArguments(job: ContainerJob): string[] {
  const { container, name, user } = job;
  const { engine, image, gpus } = container;
  return [
    ...['run', '--rm', '--interactive', '--name', name, '--pull', 'never', '--log-driver', 'none'],
    ...['--network', 'none', '--read-only', '--tmpfs', '/tmp:rw,exec,nosuid,nodev,mode=1777'],
    ...['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges', '--shm-size', SHARED_MEMORY],
    ...userArguments(engine, user),
    ...gpuArguments(engine, gpus),
    ...mountsOf(job).flatMap((mount) => ['--mount', mountArgument(mount)]),
    ...Object.entries(environmentOf(job)).flatMap(([key, value]) => ['--env', `${key}=${value}`]),
    ...['--workdir', '/tmp', '--entrypoint', '/bin/sh', image],
    ...['-c', 'exec 3>&1 1>&2 && exec "$@"', 'sh', 'python', '-m', 'dopt.job', job.file],
  ];
}

/** What is mounted: dopt's Python code, the job file, and what the parameters name. */
function mountsOf({ method, params, file }: ContainerJob): Mount[] {
  const own = [PYTHON_ROOT, dirname(file)].map((path) => ({ path, writable: false }));
  return [...own, ...mountsFor(method, params)];
}

function environmentOf({ env }: ContainerJob): Record<string, string> {
  const taken = Object.entries(env).filter(([name]) => TAKEN.test(name) && !OF_THIS_MACHINE.test(name));
  return {
    ...Object.fromEntries(taken),
    HOME: '/tmp',
    PYTHONPATH: PYTHON_ROOT,
    PYTHONDONTWRITEBYTECODE: '1',
    DOPT_LEASH: 'stdin',
  };
}

/** The caller's user, so that files come out as his. A container's root may else not read what belongs to others. */
function userArguments(engine: Engine, user: ContainerJob['user']): string[] {
  if (user === null) return [];
  if (user.uid === 0) return ['--user', '0:0', '--cap-add', 'DAC_OVERRIDE'];
  const mapped = ['--user', `${user.uid}:${user.gid}`];
  return engine.name === 'podman' ? ['--userns', 'keep-id', ...mapped] : mapped;
}

/** Podman knows GPUs by the names of the Container Device Interface, and may not relabel the user's folders for SELinux. */
function gpuArguments(engine: Engine, gpus: string | null): string[] {
  if (engine.name === 'docker') return gpus === null ? [] : ['--gpus', gpus];
  const names = gpus === null ? [] : gpus.replace(/^device=/, '').split(',');
  return [
    ...['--security-opt', 'label=disable'],
    ...names.flatMap((one) => ['--device', `nvidia.com/gpu=${one}`]),
  ];
}

/** One CSV line, as engines read it: a field with a comma or a quotation mark stands in quotation marks. */
function mountArgument({ path, writable }: Mount): string {
  const fields = ['type=bind', `source=${path}`, `target=${path}`, ...(writable ? [] : ['readonly'])];
  return fields.map((field) => (/[",]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)).join(',');
}
