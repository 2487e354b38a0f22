#!/usr/bin/env node
import { existsSync, rmSync, statSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));

const notBuilt = () => {
  process.stderr.write(`dopt is not built yet: run "npm run quickstart" in ${path('.')}\n`);
  process.exit(4);
};
if (!existsSync(path('dist/commands'))) notBuilt();

// The list of commands is a cache of dist/: a compiler run by hand leaves it behind the sources, and oclif would believe it.
const [manifest, built] = ['oclif.manifest.json', 'dist/.tsbuildinfo'].map((name) =>
  statSync(path(name), { throwIfNoEntry: false }),
);
if (manifest && built && manifest.mtimeMs < built.mtimeMs)
  rmSync(path('oclif.manifest.json'), { force: true });

nodeModule.enableCompileCache?.(); // Node 22 and newer
const { run } = await import('@oclif/core/run').catch(notBuilt);
const [{ flush }, { handle }] = await Promise.all([
  import('@oclif/core/flush'),
  import('@oclif/core/handle'),
]);
try {
  await run(process.argv.slice(2), import.meta.url);
  flush();
} catch (error) {
  // What commands throw they have rendered; this is what the system refuses before one is loaded, and a command that is none.
  const ours = error.kind === 'user' || ['EMFILE', 'ENFILE', 'ENOMEM'].includes(error.code);
  if (!ours) await handle(error);
  else {
    const { renderError, asDoptError } = await import('../dist/cli/render-error.js');
    const known = asDoptError(error);
    if (process.argv.includes('--json')) console.log(JSON.stringify({ error: known }, null, 2));
    else process.stderr.write(`${renderError(known, false)}\n`);
    process.exitCode = known.exitCode;
  }
}
