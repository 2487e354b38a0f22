import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PYTHON_ROOT } from './child-environment.js';

/** Profiles that can be made, each a set of locked packages: one for dopt's own work, one for each framework, and the newest. */
export const PROFILES = ['onnx', 'tensorflow', 'torch', 'current'] as const;
export type Profile = (typeof PROFILES)[number];

/** Profiles that a PyTorch network can run in: 1.11, and the newest. */
export const TORCH_PROFILES = ['torch', 'current'] as const satisfies readonly Profile[];
export type TorchProfile = (typeof TORCH_PROFILES)[number];

/** Profiles that a training project can run in. */
export const PLUGIN_PROFILES = [...TORCH_PROFILES, 'tensorflow'] as const satisfies readonly Profile[];
export type PluginProfile = (typeof PLUGIN_PROFILES)[number];

/** Ways to come by an interpreter with the packages of a profile. */
export const ENVIRONMENT_KINDS = ['venv', 'docker', 'system'] as const;
export type EnvironmentKind = (typeof ENVIRONMENT_KINDS)[number];

/** A Python minor version and the lock file that fits it, best first. */
export interface Lock {
  /** `3.10` */
  minor: string;
  file: string;
  /** Said to the user when this lock is taken instead of a better one. */
  notice: string | null;
  /** What it takes, roughly, in megabytes: to download, and on disk. */
  megabytes: { download: number; disk: number };
}

interface ProfileSpec {
  locks: Lock[];
  /** Modules that a system interpreter must be able to import, with the package that brings each. */
  modules: Record<string, string>;
  /** What cannot be done on a machine that has no interpreter for it; absent where dopt is of no use without it. */
  optional?: string;
}

export const PROFILE_SPECS: Record<Profile, ProfileSpec> = {
  onnx: {
    locks: [
      { minor: '3.10', file: 'onnx.txt', notice: null, megabytes: { download: 50, disk: 220 } },
      {
        minor: '3.11',
        file: 'onnx-py311.txt',
        notice:
          'Python 3.10 was not found, so the onnx profile uses Python 3.11: the same onnx 1.14.1 and onnxruntime 1.15.1, ' +
          'but numpy 1.24.4 instead of 1.23.5 and protobuf 4.25.8 instead of 3.20.3.',
        megabytes: { download: 50, disk: 220 },
      },
    ],
    modules: { onnx: 'onnx', onnxruntime: 'onnxruntime', numpy: 'numpy', PIL: 'pillow' },
  },
  tensorflow: {
    locks: [
      { minor: '3.10', file: 'tensorflow.txt', notice: null, megabytes: { download: 270, disk: 1150 } },
      {
        minor: '3.11',
        file: 'tensorflow-py311.txt',
        notice:
          'Python 3.10 was not found, so the tensorflow profile uses Python 3.11 and TensorFlow 2.12.1 instead of 2.8.0, ' +
          'which has no package for 3.11.',
        megabytes: { download: 330, disk: 1740 },
      },
    ],
    modules: { tensorflow: 'tensorflow-cpu', tf2onnx: 'tf2onnx', onnx: 'onnx', onnxruntime: 'onnxruntime' },
  },
  torch: {
    locks: [
      { minor: '3.10', file: 'torch.txt', notice: null, megabytes: { download: 820, disk: 1850 } },
      {
        minor: '3.11',
        file: 'torch-py311.txt',
        notice:
          'Python 3.10 was not found, so the torch profile uses Python 3.11 and PyTorch 1.13.1 instead of 1.11.0, which ' +
          'has no package for 3.11.',
        megabytes: { download: 1870, disk: 3510 },
      },
    ],
    modules: { torch: 'torch', onnx: 'onnx', onnxruntime: 'onnxruntime' },
  },
  current: {
    locks: [{ minor: '3.11', file: 'current.txt', notice: null, megabytes: { download: 1430, disk: 5150 } }],
    modules: { torch: 'torch', onnx: 'onnx', onnxruntime: 'onnxruntime' },
    optional: 'PyTorch networks written for PyTorch 2 cannot be quantized here; all else works.',
  },
};

/** Path of a lock file. */
export const lockPath = (lock: Lock): string => join(PYTHON_ROOT, 'requirements', lock.file);

/** Digest over a lock file and the version of the interpreter that it is installed for, 12 hex digits. */
export async function environmentDigest(lock: Lock, pythonVersion: string): Promise<string> {
  const text = await readFile(lockPath(lock), 'utf8');
  return createHash('sha256').update(`${pythonVersion}\n${text}`).digest('hex').slice(0, 12);
}

/** `3.10` of `3.10.13`. */
export const minorOf = (version: string): string => version.split('.').slice(0, 2).join('.');
