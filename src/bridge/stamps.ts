import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ENVIRONMENT_KINDS, PROFILES } from './profiles.js';

/** A Python environment that can run the methods of its profile. */
export const environmentSchema = z.strictObject({
  profile: z.enum(PROFILES),
  kind: z.enum(ENVIRONMENT_KINDS),
  /** Path of the interpreter to start. */
  python: z.string(),
  /** `python` and every package, by lower-case name. */
  versions: z.record(z.string(), z.string()),
  /** Over lock file and interpreter version (venv), over the versions (system), or of the image (docker); 12 hex digits. */
  digest: z.string(),
  root: z.string(),
  /** How the interpreter was found, one sentence for the user. */
  how: z.string(),
  /** Interpreter that a venv was made with; the same as `python` for a system one. */
  interpreter: z.string(),
  /** Milliseconds since 1970. */
  createdAt: z.number(),
  /** Where Python runs in a container: what runs it, and from which image. `gpus` as `docker run --gpus` takes them. */
  container: z
    .strictObject({
      engine: z.strictObject({
        command: z.string(),
        name: z.enum(['docker', 'podman']),
        version: z.string(),
      }),
      image: z.string(),
      gpus: z.string().nullable(),
    })
    .optional(),
});
export type Environment = z.infer<typeof environmentSchema>;

const STAMP = 'environment.json';

/** Writes the stamp that says a venv is complete: the last thing before it gets its name. */
export async function writeStamp(folder: string, environment: Environment): Promise<void> {
  await writeFile(join(folder, STAMP), `${JSON.stringify(environment, null, 2)}\n`);
}

/** Environments with a readable stamp in their own folder, newest first. A copied or damaged stamp is passed over. */
export async function readEnvironments(folder: string): Promise<Environment[]> {
  const names = await readdir(folder).catch(() => []);
  const read = await Promise.all(names.map((name) => readStamp(join(folder, name))));
  return read
    .filter((environment) => environment !== null)
    .sort((a, b) => b.createdAt - a.createdAt || (a.root < b.root ? -1 : 1));
}

async function readStamp(root: string): Promise<Environment | null> {
  const text = await readFile(join(root, STAMP), 'utf8').catch(() => null);
  if (text === null) return null;
  try {
    const parsed = environmentSchema.safeParse(JSON.parse(text));
    return parsed.success && parsed.data.root === root ? parsed.data : null;
  } catch {
    return null;
  }
}

/** Whether the interpreter is still there: a venv's is a link to one that an upgrade may have removed. */
export const usable = (environment: Environment): boolean => existsSync(environment.python);
