import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { allSnippets } from '../scripts/reference/snippets.js';
import { inFolder, ROOT } from './helpers/cli.js';

/** A folder that looks like a clone, where commands may write. */
function likeAClone(folder: string): void {
  for (const name of readdirSync(ROOT)) {
    if (name !== 'runs') symlinkSync(join(ROOT, name), join(folder, name));
  }
  mkdirSync(join(folder, 'path'));
  writeFileSync(join(folder, 'path/dopt'), `#!/bin/sh\nexec node '${join(ROOT, 'bin/run.js')}' "$@"\n`);
  chmodSync(join(folder, 'path/dopt'), 0o755);
}

const runnable = allSnippets(ROOT).filter(({ run }) => run);
const pages = [...new Set(runnable.map(({ page }) => page))];

describe('commands of the documentation', () => {
  it.for(pages)('%s, one after the other as they stand', (page) =>
    inFolder(async (folder) => {
      likeAClone(folder);
      for (const { text, line } of runnable.filter((snippet) => snippet.page === page)) {
        const env = { ...process.env, PATH: `${join(folder, 'path')}:${process.env.PATH}` };
        const ended = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', text], {
          cwd: folder,
          env,
        }).catch((error: Error & { stdout: string; stderr: string }) => error);
        expect(ended, `${page}:${line}\n${ended.stdout}\n${ended.stderr}`).not.toBeInstanceOf(Error);
      }
    }),
  );
});
