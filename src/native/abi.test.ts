import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { candidates } from './index.js';
import { ABI_VERSION, CONV_MEMBERS, HISTOGRAM_MEMBERS, SIGNATURES } from './signatures.js';

const header = readFileSync(new URL('../../native/include/dopt.h', import.meta.url), 'utf8');
const python = readFileSync(new URL('../../python/dopt/native_abi.py', import.meta.url), 'utf8');
const names = Object.keys(SIGNATURES).sort();

const found = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map((m) => m[1]!);

describe('the C interface', () => {
  it('is the same in the header, in koffi and in ctypes', () => {
    expect(found(header, /^DOPT_API\s+[\w *]+?(dopt_\w+)\(/gm).sort()).toEqual(names);
    expect(found(python, /^ {4}"(dopt_\w+)": \(/gm).sort()).toEqual(names);
    expect(found(header, /#define DOPT_ABI_VERSION (\d+)/g)).toEqual([String(ABI_VERSION)]);
    expect(found(python, /^ABI_VERSION = (\d+)/gm)).toEqual([String(ABI_VERSION)]);
  });

  it('has as many arguments in koffi as in the header', () => {
    for (const [name, [, args]] of Object.entries(SIGNATURES)) {
      const list = new RegExp(`\\b${name}\\(([^)]*)\\)`).exec(
        header.slice(header.search(new RegExp(`DOPT_API[^;]*\\b${name}\\(`))),
      )![1]!;
      expect([name, list === 'void' ? 0 : list.split(',').length]).toEqual([name, args.length]);
    }
  });

  it('has the members of its structures in order', () => {
    const members = (struct: string) =>
      found(
        new RegExp(`typedef struct ${struct} \\{([\\s\\S]*?)\\}`)
          .exec(header)![1]!
          .replace(/\/\*[\s\S]*?\*\//g, '')
          .replace(/^\s*\w+ /gm, ''),
        /(\w+)[,;]/g,
      );
    expect(members('dopt_histogram')).toEqual(Object.keys(HISTOGRAM_MEMBERS));
    expect(members('dopt_conv2d_shape')).toEqual(['struct_size', ...CONV_MEMBERS]);
  });

  const library = candidates({})[0]!;
  it.skipIf(!existsSync(library) || process.platform !== 'linux')('is all that the library exports', () => {
    const symbols = execFileSync('nm', ['-D', '--defined-only', library], { encoding: 'utf8' });
    expect(found(symbols, /^\S+ \S (\S+)$/gm).sort()).toEqual(names);
  });
});
