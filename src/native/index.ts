import { fileURLToPath } from 'node:url';
import { fallbackCore } from './fallback/index.js';
import { koffiCore } from './koffi-core.js';
import { openLibrary } from './library.js';
import type { NativeCore } from './types.js';

export type * from './types.js';

let loaded: NativeCore | undefined;

/**
 * The native core: `DOPT_NATIVE_LIB` where it is set, else native/build/lib, else the TypeScript backend after one
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

/** Where the library is looked for. */
export function candidates(environment: NodeJS.ProcessEnv): string[] {
  if (environment.DOPT_NATIVE_LIB) return [environment.DOPT_NATIVE_LIB];
  const name = process.platform === 'darwin' ? 'libdopt.dylib' : 'libdopt.so';
  // From src/native and from dist/native alike.
  return [fileURLToPath(new URL(`../../native/build/lib/${name}`, import.meta.url))];
}
