import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { diagnose } from '../src/bridge/doctor.js';
import { ensureEnvironment } from '../src/bridge/environments.js';
import type { Places } from '../src/bridge/interpreters.js';
import { anyPython, fakeInterpreter, rejection } from './bridge-fake.js';

const python = anyPython();
if (python === undefined) console.warn('skipped: no Python 3.8 or newer on this machine');

let folder: string;
let home: string;
const before = { ...process.env };
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-bring-'));
  home = join(folder, 'home');
  process.env.DOPT_HOME = home;
});
afterEach(() => {
  process.env = { ...before };
  rmSync(folder, { recursive: true, force: true });
});

const places = (over: Partial<Places> = {}): Places => ({
  named: undefined,
  path: [join(folder, 'bin')],
  versionFolders: [join(home, 'python')],
  home,
  ...over,
});
const ensure = (onProgress?: (line: string) => void, over: Partial<Places> = {}) =>
  ensureEnvironment('onnx', 'venv', { places: places(over), ...(onProgress && { onProgress }) });

/** A uv that unpacks an interpreter where it is told to, as uv 0.13 names it. */
function fakeUv(file: string, then = ''): void {
  const brought = fakeInterpreter(join(folder, 'download', 'python3.10'), '3.10.22');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(
    file,
    `#!/bin/sh
[ "$1 $2 $3" = "python install 3.10" ] || exit 2
${then}
mkdir -p "$UV_PYTHON_INSTALL_DIR/cpython-3.10.22-linux-x86_64-gnu/bin"
cp ${brought} "$UV_PYTHON_INSTALL_DIR/cpython-3.10.22-linux-x86_64-gnu/bin/python3.10"
`,
  );
  chmodSync(file, 0o755);
}

describe.skipIf(python === undefined)('a machine without a Python that fits', () => {
  it('gets one by the uv that it has, says so first, and keeps it', async () => {
    fakeInterpreter(join(folder, 'bin/python3'), '3.13.5');
    fakeUv(join(folder, 'bin/uv'));
    const lines: string[] = [];
    const made = await ensure((line) => lines.push(line));
    expect(made.versions.python).toBe('3.10.22');
    expect(made.interpreter).toBe(join(home, 'python/cpython-3.10.22-linux-x86_64-gnu/bin/python3.10'));
    expect(lines[0]).toMatch(/^No Python 3\.10 here: bringing it with uv, about 30 MB to download/);

    rmSync(join(folder, 'bin/uv'));
    rmSync(made.root, { recursive: true });
    expect((await ensure()).versions.python).toBe('3.10.22');
  });

  it('gets uv first where some Python can install it, by its locked digests', async () => {
    fakeInterpreter(join(folder, 'bin/python3'), '3.12.3');
    fakeUv(join(folder, 'download/uv'));
    // What pip is asked for is uv in the first environment, and the packages of the profile in the second.
    const wanted = `case "$*" in *--require-hashes*requirements/uv.txt*) cp ${folder}/download/uv "$(dirname "$0")/uv" ;; esac`;
    process.env.FAKE_PIP = wanted;
    const lines: string[] = [];
    expect((await ensure((line) => lines.push(line))).versions.python).toBe('3.10.22');
    expect(lines[0]).toContain('Installing uv with');
    expect(readdirSync(home).sort()).toEqual(['envs', 'python', 'uv']);
  });

  it('is told why none came, with what was tried and what to do', async () => {
    fakeInterpreter(join(folder, 'bin/python3'), '3.13.5');
    fakeUv(join(folder, 'bin/uv'), 'echo "error: Failed to download (dns error)" >&2; exit 2');
    const error = await rejection(ensure());
    expect(error).toMatchObject({ code: 'PYTHON_NOT_FOUND', exitCode: 4 });
    expect(error.message).toContain('is Python 3.13.5, not 3.10 or 3.11');
    expect(error.message).toContain('uv could not bring Python 3.10: error: Failed to download (dns error)');
    expect((error.suggestions as string[]).join(' ')).toContain('UV_PYTHON_INSTALL_MIRROR');
    expect(existsSync(join(home, 'python.lock'))).toBe(false);
  });

  it('is told to install uv where nothing can', async () => {
    const error = await rejection(ensure());
    expect(error.message).toContain('uv, which brings Python, is not on PATH');
  });

  it('gets none where DOPT_PYTHON names one that does not fit', async () => {
    const named = fakeInterpreter(join(folder, 'bin/python3'), '3.13.5');
    fakeUv(join(folder, 'bin/uv'));
    expect(await rejection(ensure(undefined, { named }))).toMatchObject({ code: 'PYTHON_NOT_FOUND' });
    expect(existsSync(join(home, 'python'))).toBe(false);
  });

  it('hears from the doctor that one would be brought', async () => {
    fakeInterpreter(join(folder, 'bin/python3'), '3.13.5');
    fakeUv(join(folder, 'bin/uv'));
    const { findings } = await diagnose(places());
    expect(findings.find(({ name }) => name === 'profile onnx')).toMatchObject({
      status: 'ok',
      found: expect.stringContaining('3.10 would be brought with uv'),
    });
  });
});
