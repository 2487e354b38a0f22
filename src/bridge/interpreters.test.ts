import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { candidates, findInterpreter, type Places, tryInterpreter } from './interpreters.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-find-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A shell script in the place of an interpreter. */
function fake(path: string, script: string): string {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return file;
}
const version = (path: string, number: string) => fake(path, `echo ${number}`);
const places = (over: Partial<Places> = {}): Places => ({
  named: undefined,
  path: [join(folder, 'a'), join(folder, 'b')],
  versionFolders: [join(folder, 'versions')],
  ...over,
});

describe('findInterpreter', () => {
  it('passes over a dead shim and takes the next on PATH', async () => {
    fake('a/python3.10', 'echo "pyenv: python3.10: command not found" >&2; exit 127');
    const alive = version('b/python3.10', '3.10.4');
    const { found, tried } = await findInterpreter(['3.10', '3.11'], places());
    expect(found).toMatchObject({ path: alive, version: '3.10.4', from: 'python3.10 on PATH' });
    expect(tried[0]!.reason).toContain('command not found');
  });

  it('takes the newest installed version when PATH has none', async () => {
    for (const patch of [2, 13, 9]) version(`versions/3.10.${patch}/bin/python3.10`, `3.10.${patch}`);
    version('versions/3.100.1/bin/python3.10', '3.100.1');
    const { found } = await findInterpreter(['3.10'], places());
    expect(found?.version).toBe('3.10.13');
  });

  it('finds the versions that uv installs', async () => {
    version('versions/cpython-3.10.14-linux-x86_64-gnu/bin/python3.10', '3.10.14');
    expect((await findInterpreter(['3.10'], places())).found?.version).toBe('3.10.14');
  });

  it('takes python3 on PATH when that is the right version', async () => {
    version('a/python3', '3.10.12');
    expect((await findInterpreter(['3.10'], places())).found?.from).toBe('python3 on PATH');
  });

  it('falls back to the next minor version only when the first is nowhere', async () => {
    version('a/python3', '3.11.2');
    version('a/python3.11', '3.11.2');
    expect((await findInterpreter(['3.10', '3.11'], places())).found?.version).toBe('3.11.2');
    version('versions/3.10.1/bin/python3.10', '3.10.1');
    expect((await findInterpreter(['3.10', '3.11'], places())).found?.version).toBe('3.10.1');
  });

  it('lists everything that was tried when nothing fits', async () => {
    version('a/python3', '3.13.0');
    fake('b/python3.10', 'exit 3');
    const { found, tried } = await findInterpreter(['3.10', '3.11'], places());
    expect(found).toBeNull();
    expect(tried.map(({ reason }) => reason)).toEqual([
      'does not run: exit code 3',
      'is Python 3.13.0, not 3.10 or 3.11',
    ]);
  });

  it('takes DOPT_PYTHON and nothing else', async () => {
    version('a/python3.10', '3.10.4');
    const named = version('own/python', '3.12.1');
    const { found, tried } = await findInterpreter(['3.10'], places({ named }));
    expect(found).toBeNull();
    expect(tried).toEqual([
      { path: named, from: 'DOPT_PYTHON', version: '3.12.1', reason: 'is Python 3.12.1, not 3.10' },
    ]);
  });

  it('names a DOPT_PYTHON that is not there', async () => {
    const { tried } = await findInterpreter(['3.10'], places({ named: join(folder, 'nothing') }));
    expect(tried[0]!.reason).toContain('ENOENT');
  });
});

describe('tryInterpreter', () => {
  it('says that the venv module is missing', async () => {
    const path = fake('python', 'echo "NOVENV No module named ensurepip" >&2; exit 1');
    expect((await tryInterpreter({ path, from: 'test' })).reason).toContain('python3-venv');
  });

  it('gives up on one that does not answer', async () => {
    const path = fake('python', 'exec sleep 20');
    expect((await tryInterpreter({ path, from: 'test' }, 300)).reason).toBe('does not answer within 0.3 s');
  });

  it('is not taken in by one that prints something else', async () => {
    expect((await tryInterpreter({ path: fake('python', 'echo hello'), from: 'test' })).version).toBeNull();
  });
});

describe('candidates', () => {
  it('lists only files that are there, each once', () => {
    const path = version('a/python3.10', '3.10.1');
    const list = candidates('3.10', places({ path: [join(folder, 'a'), join(folder, 'a')] }));
    expect(list.map((one) => one.path)).toEqual([path]);
  });
});
