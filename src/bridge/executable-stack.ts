import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Fields of ELF64 headers (System V ABI, "Object Files"; gABI chapters 4 and 5), as offsets in bytes. */
const ELF = { class: 4, data: 5, programHeaders: 32, entrySize: 54, entries: 56, headerSize: 64 } as const;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
/** Program header that says what the stack may be, and its flag for "executable". */
const PT_GNU_STACK = 0x6474e551;
const PF_X = 1;
/** Sound files have a dozen program headers; a damaged one may claim any number. */
const MOST_ENTRIES = 4096;

/**
 * Takes the wish for an executable stack out of every shared library below a folder.
 *
 * onnxruntime 1.15 and PyTorch 1.11 were linked with that flag by mistake; nothing in them runs on the stack. glibc 2.41 and
 * newer (Debian 13, Ubuntu 25.04, Fedora 42) no longer loads such a library into a running program: "cannot enable executable
 * stack as shared object requires".
 * @returns the libraries that were changed
 */
export async function clearExecutableStacks(folder: string): Promise<string[]> {
  const changed: string[] = [];
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    if (!/\.so(?:\.[\d.]+)?$/.test(name) || !(await lstat(path)).isFile()) continue;
    if (await clearExecutableStack(path)) changed.push(path);
  }
  return changed;
}

/** The same for one file; false where there is nothing to change. */
async function clearExecutableStack(path: string): Promise<boolean> {
  const file = await open(path, 'r+');
  try {
    const header = Buffer.alloc(ELF.headerSize);
    const { bytesRead } = await file.read(header, 0, ELF.headerSize, 0);
    const little = header[ELF.class] === CLASS_64 && header[ELF.data] === LITTLE_ENDIAN;
    if (bytesRead < ELF.headerSize || header.toString('latin1', 0, 4) !== '\x7fELF' || !little) return false;
    const start = Number(header.readBigUInt64LE(ELF.programHeaders));
    const size = header.readUInt16LE(ELF.entrySize);
    const entries = Math.min(header.readUInt16LE(ELF.entries), MOST_ENTRIES);
    const table = Buffer.alloc(size * entries);
    if (start > (await file.stat()).size) return false;
    if ((await file.read(table, 0, table.length, start)).bytesRead < table.length) return false;
    for (let at = 0; at + 8 <= table.length; at += size) {
      const flags = table.readUInt32LE(at + 4);
      if (table.readUInt32LE(at) !== PT_GNU_STACK || (flags & PF_X) === 0) continue;
      const without = Buffer.alloc(4);
      without.writeUInt32LE(flags & ~PF_X);
      await file.write(without, 0, without.length, start + at + 4);
      return true;
    }
    return false;
  } finally {
    await file.close();
  }
}
