import { readFileSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { UserError } from '../errors.js';
import { nearPaths } from '../graph/near-paths.js';

/** Largest text file that is read, in bytes. */
export const MAX_TEXT_BYTES = 1_000_000;

export interface TextFileKind {
  /** Code of the error. */
  code: string;
  /** What the file is, with "no": `no recipe`. */
  never: string;
  /** What to give instead of a file that cannot be read. */
  advice: string;
}

/**
 * A UTF-8 file of at most MAX_TEXT_BYTES, without a byte order mark.
 * @throws UserError of `kind.code` for a file that cannot be read, is larger, or is not UTF-8
 */
export async function readTextFile(path: string, kind: TextFileKind): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readAtMost(path, MAX_TEXT_BYTES + 1);
  } catch (error) {
    throw unreadable(path, kind, error);
  }
  return decode(bytes, path, kind);
}

/** As readTextFile, for the few small files that come with dopt or are read before anything else can be done. */
export function readTextFileSync(path: string, kind: TextFileKind): string {
  let bytes: Buffer;
  try {
    if (statSync(path).size > MAX_TEXT_BYTES) throw tooLarge(path, kind);
    bytes = readFileSync(path);
  } catch (error) {
    throw error instanceof UserError ? error : unreadable(path, kind, error);
  }
  return decode(bytes, path, kind);
}

function decode(bytes: Buffer, path: string, kind: TextFileKind): string {
  if (bytes.length > MAX_TEXT_BYTES) throw tooLarge(path, kind);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw refusal(path, kind, 'is not UTF-8 text', error);
  }
}

const tooLarge = (path: string, kind: TextFileKind): UserError =>
  refusal(path, kind, `is larger than 1 MB, which ${kind.never} is`);

function unreadable(path: string, kind: TextFileKind, error: unknown): UserError {
  const reasons: Record<string, string> = { ENOENT: 'does not exist', EISDIR: 'is a folder' };
  const { code, message } = error as NodeJS.ErrnoException;
  const near = code === 'ENOENT' ? nearPaths(path) : [];
  return refusal(path, kind, reasons[code ?? ''] ?? `cannot be read (${message})`, error, near);
}

const refusal = (
  path: string,
  { code, advice }: TextFileKind,
  why: string,
  cause?: unknown,
  near: readonly string[] = [],
): UserError =>
  new UserError(code, `${path} ${why}.`, { place: path, suggestions: [...near, advice], cause });

/** The first `most` bytes of a file, however long it is. */
async function readAtMost(path: string, most: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(most);
    let length = 0;
    while (length < most) {
      const { bytesRead } = await file.read(buffer, length, most - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return buffer.subarray(0, length);
  } finally {
    await file.close();
  }
}
