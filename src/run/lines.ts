import { closeSync, existsSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { diskError } from './atomic.js';

/** The lines of an append-only file, none where there is no file; a last line that a kill has torn is cut off. */
export function readLines(path: string): string[] {
  if (!existsSync(path)) return [];
  const text = readFileSync(path, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
  return whole.split('\n').filter((line) => line !== '');
}

/**
 * Adds a line; it is on the disk when this returns, or, where it may wait, when the next one is. Throws EnvironmentError
 * DISK_WRITE.
 */
export function appendLine(path: string, line: string, mayWait = false): void {
  try {
    const file = openSync(path, 'a');
    try {
      writeSync(file, `${line}\n`);
      if (!mayWait) fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw diskError(error, path);
  }
}
