#!/usr/bin/env node
// After `npm install dopt`: compiles the native core where the package carries none that loads on this machine. Never fails an
// install: without the core dopt computes in TypeScript, and says so. In a checkout it does nothing; `npm run build` builds there.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const here = (...parts) => join(root, ...parts);

/** Why the carried library cannot be used; null where it can. */
async function problem() {
  const library = here('native', 'prebuilt', `${process.platform}-${process.arch}`, 'libdopt.so');
  if (!existsSync(library))
    return `the package has no native core for ${process.platform} on ${process.arch}`;
  try {
    const { openLibrary } = await import('../dist/native/library.js');
    openLibrary(library);
    return null;
  } catch (error) {
    return `the native core of the package does not load here (${error.message})`;
  }
}

if (!existsSync(here('src'))) {
  const reason = await problem();
  if (reason !== null) {
    console.log(`dopt: ${reason}; compiling it, which takes a minute or two ...`);
    await import('./build-native.js');
    if (process.exitCode) process.exitCode = 0;
  }
}
