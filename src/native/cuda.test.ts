import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { describeCuda } from '../bridge/doctor.js';
import { CUDA_ABI_VERSION, CUDA_SIGNATURES, cudaLibraryPath, cudaState } from './cuda.js';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const header = read('native/cuda/include/dopt_cuda.h');
const python = read('python/dopt/native_cuda_abi.py');
const cpu = read('native/include/dopt.h');

const found = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map((m) => m[1]!);
const declared = found(header, /^DOPT_API\s+[\w *]+?(dopt_cuda_\w+)\(/gm).sort();

/** Arguments of a function in a header. */
function argumentsOf(text: string, name: string): string[] {
  const list = new RegExp(`DOPT_API[^;]*?\\b${name}\\(([^)]*)\\)`).exec(text)![1]!;
  return list === 'void' ? [] : list.split(',').map((one) => one.replace(/\s+/g, ' ').trim());
}

/**
 * Machine code and PTX in a library, as `sm_90` and `ptx_90`, read from the entries of its fat binaries: a header with
 * magic and size, then for each entry its kind (1 PTX, 2 machine code), sizes, and the architecture at byte 28.
 */
function architectures(library: Buffer): string[] {
  const all = new Set<string>();
  const magic = Buffer.from([0x50, 0xed, 0x55, 0xba]);
  for (let at = library.indexOf(magic); at >= 0; at = library.indexOf(magic, at + 4)) {
    const end = at + 16 + Number(library.readBigUInt64LE(at + 8));
    for (let entry = at + library.readUInt16LE(at + 6); entry + 32 < Math.min(end, library.length); ) {
      const kind = library.readUInt16LE(entry);
      const size = library.readUInt32LE(entry + 4) + Number(library.readBigUInt64LE(entry + 8));
      if ((kind !== 1 && kind !== 2) || size <= 0) break;
      all.add(`${kind === 1 ? 'ptx' : 'sm'}_${library.readUInt32LE(entry + 28)}`);
      entry += size;
    }
  }
  return [...all].sort();
}

describe('the C interface of the CUDA core', () => {
  it('is the same in the header and in ctypes, and what Node asks is part of it', () => {
    expect(found(python, /^ {4}"(dopt_cuda_\w+)": \(/gm).sort()).toEqual(declared);
    expect(declared).toEqual(expect.arrayContaining(Object.keys(CUDA_SIGNATURES)));
    expect(found(header, /#define DOPT_CUDA_ABI_VERSION (\d+)/g)).toEqual([String(CUDA_ABI_VERSION)]);
    expect(found(python, /^CUDA_ABI_VERSION = (\d+)/gm)).toEqual([String(CUDA_ABI_VERSION)]);
    for (const [name, [, args]] of Object.entries(CUDA_SIGNATURES)) {
      expect([name, argumentsOf(header, name).length]).toEqual([name, args.length]);
    }
  });

  it('takes what the CPU core takes, and a stream, wherever results need no array', () => {
    const twins = declared
      .map((name) => name.replace('dopt_cuda_', 'dopt_'))
      .filter((name) => /(quantize|conv2d_u8|matmul_u8|gram_(reconstruct|bias|error)|absmax)/.test(name));
    expect(twins).toHaveLength(21);
    for (const name of twins) {
      const cuda = argumentsOf(header, name.replace('dopt_', 'dopt_cuda_'));
      expect([name, cuda]).toEqual([name, [...argumentsOf(cpu, name), 'void* stream']]);
    }
  });

  const library = cudaLibraryPath({});
  const built = existsSync(library);

  it.skipIf(!built)('is all that the library exports', () => {
    const symbols = execFileSync('nm', ['-D', '--defined-only', library], { encoding: 'utf8' });
    expect(found(symbols, /^\S+ [A-Z] (\S+)$/gm).sort()).toEqual(declared);
  });

  it.skipIf(!built)(
    'has machine code for each architecture that the build names, and PTX for later ones',
    () => {
      const { build, path, reason } = cudaState(library);
      expect([path, reason && build === null ? reason : null]).toEqual([library, null]);
      const named = build!.architectures.split(' ');
      expect(architectures(readFileSync(library))).toEqual([
        `ptx_${named.at(-1)}`,
        ...named.map((arch) => `sm_${arch}`),
      ]);
    },
  );
});

describe('what the doctor says of the CUDA core', () => {
  const build = { abi: 1, runtime: '13.0', architectures: '80 86 89 90' };
  const device = {
    name: 'NVIDIA H100',
    capability: '9.0',
    multiprocessors: 132,
    memory: 8e10,
    driver: '13.0',
  };

  it('names device, driver and build', () => {
    const finding = describeCuda({ path: '/lib.so', build, devices: [device], reason: null }, true);
    expect(finding.status).toBe('ok');
    for (const part of ['NVIDIA H100', '9.0', 'driver for CUDA 13.0', '80 86 89 90']) {
      expect(finding.found).toContain(part);
    }
  });

  it('needs none where there is no GPU, and warns where one lies idle', () => {
    const missing = cudaState('/no/such/libdopt_cuda.so');
    expect(missing).toMatchObject({ path: null, build: null, devices: [] });
    expect(describeCuda(missing, false)).toMatchObject({ status: 'ok', remedies: [] });
    const idle = describeCuda(missing, true);
    expect(idle.status).toBe('warning');
    expect(idle.remedies.join()).toContain('build:cuda');
    const old = { path: '/lib.so', build, devices: [], reason: 'driver too old' };
    expect(describeCuda(old, true)).toMatchObject({ status: 'warning' });
    expect(describeCuda(old, true).found).toContain('driver too old');
  });

  it('says what is wrong with a file that is no library', () => {
    const state = cudaState(new URL(import.meta.url).pathname);
    expect(state.build).toBeNull();
    expect(state.reason).not.toBeNull();
  });
});
