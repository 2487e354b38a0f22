import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Any Python 3 of the machine: the fake worker needs no package. */
export function anyPython(): string | undefined {
  for (const command of ['python3', 'python3.10', 'python3.11', 'python']) {
    const found = spawnSync(
      command,
      ['-c', 'import sys; assert sys.version_info >= (3, 8); print(sys.executable)'],
      {
        encoding: 'utf8',
      },
    );
    if (found.status === 0) return found.stdout.trim();
  }
  return undefined;
}

/** Environment variables that make every Python method behave as `words` say (fixtures/fake-python). */
export const faking = (words: string): Record<string, string> => ({
  PYTHONPATH: fileURLToPath(new URL('fixtures/fake-python', import.meta.url)),
  DOPT_FAKE: words,
  DOPT_HEARTBEAT_SECONDS: '0.1',
});

/** A folder that is gone after `work`. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'dopt-test-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Polls until `check` gives something; fails after `limitMs`. */
export async function until<T>(
  check: () => T | undefined | false,
  what: string,
  limitMs = 10_000,
): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = check();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The error that a promise rejects with; fails when it resolves. */
export async function rejection(promise: Promise<unknown>): Promise<Record<string, unknown> & Error> {
  try {
    await promise;
  } catch (error) {
    return error as Record<string, unknown> & Error;
  }
  throw new Error('expected a rejection, but the promise resolved');
}

/** An interpreter that claims a version, makes venvs of itself and whose pip does what FAKE_PIP says. */
export function fakeInterpreter(file: string, version: string): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(
    file,
    `#!/bin/sh
case "$1 $2" in
  "-I -c") echo ${version} ;;
  "-m venv") mkdir -p "$3/bin" "$3/lib" && cp "$0" "$3/bin/python" && echo "$$" > "$3/started" ;;
  "-m pip") echo "Collecting everything"; eval "$FAKE_PIP" ;;
  *) exec ${anyPython()} -S "$@" ;; # without site-packages
esac
`,
  );
  chmodSync(file, 0o755);
  return file;
}
