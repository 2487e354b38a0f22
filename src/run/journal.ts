import { existsSync, truncateSync } from 'node:fs';
import { z } from 'zod';
import { appendLine, readLines } from './lines.js';
import { parseRunLine } from './run-file.js';

/**
 * An append-only list of finished pieces of work, one JSON object a line, each on the disk before `record` returns: a
 * search that is killed goes on where it was. A last line that was torn by the kill is dropped.
 */
export class Journal<T> {
  private readonly known = new Map<string, T>();

  private constructor(private readonly path: string) {}

  /**
   * Opens a journal, or begins one. With `fresh`, what an earlier run left is discarded.
   * @throws UserError RUN_FILE for a whole line that is no entry
   */
  static open<T>(path: string, entry: z.ZodType<T>, fresh: boolean): Journal<T> {
    const journal = new Journal<T>(path);
    if (!existsSync(path)) return journal;
    if (fresh) {
      truncateSync(path);
      return journal;
    }
    const line = z.strictObject({ key: z.string(), entry });
    for (const [index, one] of readLines(path).entries()) {
      const { key, entry: value } = parseRunLine(one, `${path}:${index + 1}`, line);
      journal.known.set(key, value);
    }
    return journal;
  }

  /** What was recorded under a key. */
  get(key: string): T | undefined {
    return this.known.get(key);
  }

  /** Adds an entry; it is on the disk when this returns. Throws EnvironmentError DISK_WRITE. */
  record(key: string, entry: T): void {
    appendLine(this.path, JSON.stringify({ key, entry }));
    this.known.set(key, entry);
  }
}
