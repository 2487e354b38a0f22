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
const { execute } = await import('@oclif/core/execute').catch(notBuilt);
await execute({ dir: import.meta.url });
