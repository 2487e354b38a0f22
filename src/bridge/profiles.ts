import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PYTHON_ROOT } from './child-environment.js';

/** Profiles that can be made, each a set of locked packages. */
export const PROFILES = ['onnx'] as const;
export type Profile = (typeof PROFILES)[number];

/** Ways to come by an interpreter with the packages of a profile. */
export const ENVIRONMENT_KINDS = ['venv', 'system'] as const;
export type EnvironmentKind = (typeof ENVIRONMENT_KINDS)[number];

/** A Python minor version and the lock file that fits it, best first. */
export interface Lock {
  /** `3.10` */
  minor: string;
  file: string;
  /** Said to the user when this lock is taken instead of a better one. */
  notice: string | null;
}

interface ProfileSpec {
  locks: Lock[];
  /** Modules that a system interpreter must be able to import, with the package that brings each. */
  modules: Record<string, string>;
}

export const PROFILE_SPECS: Record<Profile, ProfileSpec> = {
  onnx: {
    locks: [
      { minor: '3.10', file: 'onnx.txt', notice: null },
      {
        minor: '3.11',
        file: 'onnx-py311.txt',
        notice:
          'Python 3.10 was not found, so the onnx profile uses Python 3.11: the same onnx 1.14.1 and onnxruntime 1.15.1, ' +
          'but numpy 1.24.4 instead of 1.23.5 and protobuf 4.25.8 instead of 3.20.3.',
      },
    ],
    modules: { onnx: 'onnx', onnxruntime: 'onnxruntime', numpy: 'numpy', PIL: 'pillow' },
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
