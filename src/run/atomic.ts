import { accessSync, constants, existsSync, mkdirSync } from 'node:fs';
import { copyFile, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EnvironmentError } from '../errors.js';

/** Writes a file whole or not at all: a temporary file beside it, flushed, then renamed over. */
export async function writeFileAtomic(path: string, content: string | Uint8Array): Promise<void> {
  await placeAtomic(path, async (temporary) => {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  });
}

/** Copies a file whole or not at all. */
export async function copyFileAtomic(from: string, to: string): Promise<void> {
  await placeAtomic(to, async (temporary) => {
    await copyFile(from, temporary);
    const file = await open(temporary, 'r+');
    await file.sync().finally(() => file.close());
  });
}

/** Lets `write` make a temporary file beside `path`, then renames it over; removes it after an error. */
export async function placeAtomic(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${process.pid}.partial`;
  try {
    await write(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw diskError(error, path);
  }
}

const DISK: Record<string, string> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EIO: 'the disk reports an error',
};

/** An error of the file system in the user's words; other errors are handed through. */
export function diskError(error: unknown, path: string): unknown {
  const reason = DISK[(error as NodeJS.ErrnoException).code ?? ''];
  if (reason === undefined) return error;
  return new EnvironmentError('DISK_WRITE', `Cannot write ${path}: ${reason}.`, {
    place: path,
    cause: error,
    suggestions: ['Give a folder that can be written to, with room enough: --out FOLDER'],
  });
}

/** Makes a folder and those above it. Node says ENOENT where the file system is read-only; this says what is the matter. */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    let above = dirname(path);
    while (!existsSync(above)) above = dirname(above);
    accessSync(above, constants.W_OK);
    throw error;
  }
}
