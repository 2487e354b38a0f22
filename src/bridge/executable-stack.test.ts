import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { clearExecutableStacks } from './executable-stack.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-elf-'));
  mkdirSync(join(folder, 'capi'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** An ELF64 file of two program headers, the second of the stack with these flags, and a byte behind. */
function library(flags: number): Buffer {
  const bytes = Buffer.alloc(64 + 2 * 56 + 1, 0xaa);
  bytes.write('\x7fELF\x02\x01', 'latin1');
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(2, 56);
  bytes.writeUInt32LE(1, 64);
  bytes.writeUInt32LE(5, 68);
  bytes.writeUInt32LE(0x6474e551, 120);
  bytes.writeUInt32LE(flags, 124);
  return bytes;
}
const write = (name: string, bytes: Buffer): string => {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
};

it('takes the flag from libraries that have it, and changes nothing else in them', async () => {
  const marked = write('capi/state.cpython-310.so', library(7));
  const versioned = write('libx.so.1', library(7));
  const sound = write('sound.so', library(6));
  expect((await clearExecutableStacks(folder)).sort()).toEqual([marked, versioned].sort());
  for (const path of [marked, versioned, sound]) expect(readFileSync(path)).toEqual(library(6));
  expect(await clearExecutableStacks(folder)).toEqual([]);
});

it('leaves alone what is no such library, and damaged ones', async () => {
  const others = {
    'a.so': Buffer.from('INPUT(libx.so.1)'),
    'b.so': Buffer.alloc(0),
    'c.so': library(7).subarray(0, 130),
    'd.py': library(7),
    'e.so': (() => {
      const far = library(7);
      far.writeBigUInt64LE(0xffff_ffff_ffffn, 32);
      return far;
    })(),
    'f.so': (() => {
      const narrow = library(7);
      narrow.writeUInt16LE(0, 54);
      return narrow;
    })(),
  };
  for (const [name, bytes] of Object.entries(others)) write(name, bytes);
  expect(await clearExecutableStacks(folder)).toEqual([]);
  for (const [name, bytes] of Object.entries(others)) expect(readFileSync(join(folder, name))).toEqual(bytes);
});
