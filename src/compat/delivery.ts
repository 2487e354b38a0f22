import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Delivered, deliveredSchema } from '../config/delivered.js';
import { quantParamsSchema } from '../config/quant-params.js';
import { UserError } from '../errors.js';
import { copyFileAtomic, diskError, makeFolder, writeFileAtomic } from '../run/atomic.js';
import { fileDigest } from '../run/digest.js';

const RECORD = 'delivered.json';

/**
 * Refuses to replace files that are not ours: one of ours is listed, unchanged, in what an earlier run delivered, or is a
 * parameter file of dopt.
 * @param folder run folder of the earlier run, if there was one
 * @throws UserError COMPAT_OUT_FOLDER for folders, COMPAT_OUT_EXISTS for foreign files unless `overwrite`
 */
export async function refuseForeignFiles(
  paths: readonly string[],
  folder: string,
  overwrite: boolean,
): Promise<void> {
  const delivered = new Map(readRecord(folder).files.map(({ path, sha256 }) => [path, sha256]));
  for (const path of paths) {
    const found = statSync(path, { throwIfNoEntry: false });
    if (!found) continue;
    if (!found.isFile()) {
      throw new UserError('COMPAT_OUT_FOLDER', `${path} is a folder; the result is a file.`, {
        place: path,
        suggestions: ['Give the path of the file to write.'],
      });
    }
    if (overwrite || isParameterFile(path)) continue;
    const known = delivered.get(path);
    if (known !== undefined && known === (await fileDigest(path)).sha256) continue;
    const reason = known === undefined ? 'was not written by dopt' : 'was changed since dopt wrote it';
    throw new UserError(
      'COMPAT_OUT_EXISTS',
      `${path} exists and ${reason}; it is not overwritten silently.`,
      {
        place: path,
        suggestions: ['Move it away or give another path.', 'Replace it all the same: --overwrite'],
      },
    );
  }
}

/**
 * Copies results to where they were asked for, each whole or not at all, and notes them in the run folder.
 * @throws EnvironmentError DISK_WRITE
 */
export async function deliver(
  copies: readonly { from: string; to: string }[],
  folder: string,
): Promise<Delivered['files']> {
  const files: Delivered['files'] = [];
  for (const { from, to } of copies) {
    try {
      makeFolder(dirname(to));
    } catch (error) {
      throw diskError(error, to);
    }
    await copyFileAtomic(from, to);
    files.push(await fileDigest(to));
    // After each file, so that a failure at the next one leaves none behind that we would not know again.
    const others = readRecord(folder).files.filter(({ path }) => path !== to);
    const record: Delivered = { version: 1, files: [...others, files.at(-1)!] };
    await writeFileAtomic(join(folder, RECORD), `${JSON.stringify(record, null, 1)}\n`);
  }
  return files;
}

function readRecord(folder: string): Delivered {
  try {
    return deliveredSchema.parse(JSON.parse(readFileSync(join(folder, RECORD), 'utf8')));
  } catch {
    return { version: 1, files: [] };
  }
}

/** Largest file that is looked into; a parameter file of a thousand layers stays below 10 MB. */
const MOST_BYTES = 100_000_000;

function isParameterFile(path: string): boolean {
  try {
    if (statSync(path).size > MOST_BYTES) return false;
    return quantParamsSchema.safeParse(JSON.parse(readFileSync(path, 'utf8'))).success;
  } catch {
    return false;
  }
}
