import { open } from 'node:fs/promises';
import { UserError } from '../errors.js';

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
  const refuse = (message: string, cause?: unknown): never => {
    throw new UserError(kind.code, `${path} ${message}.`, { place: path, suggestions: [kind.advice], cause });
  };
  let bytes: Buffer;
  try {
    bytes = await readAtMost(path, MAX_TEXT_BYTES + 1);
  } catch (error) {
    const reasons: Record<string, string> = { ENOENT: 'does not exist', EISDIR: 'is a folder' };
    const { code, message } = error as NodeJS.ErrnoException;
    return refuse(reasons[code ?? ''] ?? `cannot be read (${message})`, error);
  }
  if (bytes.length > MAX_TEXT_BYTES) return refuse(`is larger than 1 MB, which ${kind.never} is`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    return refuse('is not UTF-8 text', error);
  }
}

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
