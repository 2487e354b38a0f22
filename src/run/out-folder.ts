import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { type Manifest, manifestSchema } from '../config/manifest.js';
import { UserError } from '../errors.js';

/** A folder's manifest, or null when it holds no run of ours. */
export function readManifest(folder: string): Manifest | null {
  try {
    return manifestSchema.parse(JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')));
  } catch {
    return null;
  }
}

/** @throws UserError OUT_INSIDE_INPUT when a run would write into what it reads */
export function refuseInputs(folder: string, inputs: readonly string[]): void {
  const inside = (inner: string, outer: string): boolean => inner === outer || inner.startsWith(outer + sep);
  for (const input of inputs.map((path) => resolve(path))) {
    if (!inside(folder, input) && !inside(input, join(folder, 'stages'))) continue;
    throw new UserError('OUT_INSIDE_INPUT', `The run folder ${folder} lies inside the input ${input}.`, {
      place: folder,
      suggestions: ['Give a folder outside of what is read: --out FOLDER'],
    });
  }
}

/** Stages that read the model: what they leave is soon made again. */
const READING = ['convert', 'parity', 'capture'];

/** Whether there is more in a run folder than the model that was read, and logs. */
export function holdsWork(folder: string): boolean {
  const stages = join(folder, 'stages');
  return readdirSync(stages)
    .filter((name) => !READING.includes(name))
    .some((name) => readdirSync(join(stages, name)).some((entry) => !entry.endsWith('.log')));
}

/** @throws UserError OUT_NOT_A_RUN, and without `resume` OUT_EXISTS: nothing that lies in a folder is overwritten */
export function refuseForeign(folder: string, resume: boolean): void {
  if (!existsSync(folder)) return;
  if (!statSync(folder).isDirectory()) {
    throw new UserError('OUT_NOT_A_RUN', `${folder} is a file; a run needs a folder.`, {
      place: folder,
      suggestions: ['Give another place: --out FOLDER'],
    });
  }
  // A run that was killed at its very beginning leaves these before its first manifest.
  const entries = readdirSync(folder).filter(
    (name) => name !== '.lock' && !/^manifest\.json\.\d+\.partial$/.test(name),
  );
  if (entries.every((name) => name === 'stages' && readdirSync(join(folder, name)).length === 0)) return;
  const manifest = readManifest(folder);
  if (!manifest) {
    throw new UserError(
      'OUT_NOT_A_RUN',
      `${folder} is not empty and holds no dopt run; nothing was written.`,
      {
        place: folder,
        found: entries.slice(0, 5).join(', '),
        suggestions: ['Give a new or empty folder: --out FOLDER'],
      },
    );
  }
  if (!resume) {
    const finished = manifest.state === 'finished';
    const state = finished ? 'a finished run' : 'a run that did not end';
    throw new UserError('OUT_EXISTS', `${folder} already holds ${state}; it is never overwritten silently.`, {
      place: folder,
      suggestions: [
        finished
          ? 'Go on with it: add --resume'
          : 'Go on with it, with mended flags too: add --resume (what they change is done anew)',
        'Or give another folder: --out FOLDER',
      ],
    });
  }
}
