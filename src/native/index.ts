import { fallbackCore } from './fallback/index.js';
import { koffiCore } from './koffi-core.js';
import { openLibrary } from './library.js';
import { candidates } from './places.js';
import type { NativeCore } from './types.js';

export { candidates } from './places.js';
export type * from './types.js';

let loaded: NativeCore | undefined;

/**
 * The native core from the first of its places (places.ts) that can be used, else the TypeScript backend after one
 * warning on stderr. Kept for the life of the process.
 */
export function loadNative(): NativeCore {
  loaded ??= load(candidates(process.env), (warning) => process.stderr.write(`${warning}\n`));
  return loaded;
}

/** The first of `paths` that can be used; the TypeScript backend, with a warning that says why, where none can. */
export function load(paths: readonly string[], warn: (text: string) => void): NativeCore {
  const reasons: string[] = [];
  for (const path of paths) {
    try {
      return koffiCore(openLibrary(path));
    } catch (error) {
      reasons.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const detail = reasons.join('; ');
  warn(`dopt: native core unavailable, using the slower TypeScript one (${detail}); npm run build:native`);
  return fallbackCore(detail);
}
