import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { diagnose, diagnoseNode, diagnoseProcessor, diagnoseTool } from '../src/bridge/doctor.js';
import {
  ensureEnvironment,
  environmentsFolder,
  findReady,
  listEnvironments,
} from '../src/bridge/environments.js';
import type { Places } from '../src/bridge/interpreters.js';
import { PythonRuntime } from '../src/bridge/runtime.js';
import { anyPython, fakeInterpreter, rejection, until } from './bridge-fake.js';

const python = anyPython();
if (python === undefined) console.warn('skipped: no Python 3.8 or newer on this machine');

let folder: string;
const before = { ...process.env };
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-env-'));
  process.env.DOPT_HOME = join(folder, 'home');
});
afterEach(() => {
  process.env = { ...before };
  rmSync(folder, { recursive: true, force: true });
});

const fake = (path: string, version: string): string => fakeInterpreter(join(folder, path), version);
const places = (over: Partial<Places> = {}): Places => ({
  named: undefined,
  path: [join(folder, 'bin')],
  versionFolders: [],
  ...over,
});
const ensure = (options: Parameters<typeof ensureEnvironment>[2] = {}) =>
  ensureEnvironment('onnx', 'venv', { places: places(), ...options });
const left = () => readdirSync(environmentsFolder()).filter((name) => /tmp|old|lock/.test(name));

describe.skipIf(python === undefined)('ensureEnvironment', () => {
  it('makes an environment that runs, tells what it does, and finds it again without Python', async () => {
    const interpreter = fake('bin/python3.10', '3.10.7');
    const lines: string[] = [];
    const made = await ensure({ onProgress: (line) => lines.push(line) });
    expect(made).toMatchObject({
      profile: 'onnx',
      kind: 'venv',
      interpreter,
      versions: { python: '3.10.7' },
    });
    expect(lines).toContain('Collecting everything');
    expect(left()).toEqual([]);
    const runtime = new PythonRuntime(made);
    expect((await runtime.invoke('probe', {})).python).toMatch(/^3\./);
    await runtime.close();

    writeFileSync(interpreter, '#!/bin/sh\nexit 1\n');
    const start = performance.now();
    expect(await ensure()).toEqual(made);
    expect(performance.now() - start).toBeLessThan(200);
  });

  it('falls back to Python 3.11 and says so plainly, and takes 3.10 once it is there', async () => {
    fake('bin/python3.11', '3.11.4');
    const lines: string[] = [];
    const fallback = await ensure({ onProgress: (line) => lines.push(line) });
    expect(lines[0]).toContain('Python 3.10 was not found');
    fake('bin/python3.10', '3.10.7');
    expect((await ensure()).root).toBe(fallback.root);
    expect((await ensure({ refresh: true })).versions.python).toBe('3.10.7');
    expect((await ensure()).versions.python).toBe('3.10.7');
    const listed = (await listEnvironments()).map(({ versions, current }) => [versions.python, current]);
    expect(listed).toEqual([
      ['3.10.7', true],
      ['3.11.4', false],
    ]);
  });

  it('says all that was tried when there is no Python', async () => {
    fake('bin/python3', '3.13.1');
    const error = await rejection(ensure());
    expect(error).toMatchObject({ code: 'PYTHON_NOT_FOUND', exitCode: 4 });
    expect(error.message).toContain('bin/python3 (python3 on PATH): is Python 3.13.1, not 3.10 or 3.11');
    expect(error.suggestions).toContain(
      'Use an interpreter of your own that has onnx, onnxruntime, numpy, pillow: --env system.',
    );
  });

  it('hands over what pip printed when it fails, and leaves nothing behind', async () => {
    fake('bin/python3.10', '3.10.7');
    process.env.FAKE_PIP = 'echo "ERROR: no route to the index" >&2; exit 1';
    const error = await rejection(ensure());
    expect(error).toMatchObject({ code: 'ENV_INSTALL_FAILED', exitCode: 4 });
    expect(error.found).toContain('no route to the index');
    expect(readdirSync(environmentsFolder())).toEqual([]);
  });

  it('is made once when two ask at the same time', async () => {
    fake('bin/python3.10', '3.10.7');
    process.env.FAKE_PIP = 'sleep 0.5';
    const lines: string[] = [];
    const onProgress = (line: string) => lines.push(line);
    const [one, two] = await Promise.all([ensure({ onProgress }), ensure({ onProgress })]);
    expect(one).toEqual(two);
    expect(lines.filter((line) => line.startsWith('Collecting'))).toHaveLength(1);
    expect(lines.some((line) => line.startsWith('Waiting for process'))).toBe(true);
  });

  it('is made anew with force, even over a damaged one', async () => {
    fake('bin/python3.10', '3.10.7');
    const first = await ensure();
    writeFileSync(join(first.root, 'damage'), '');
    const second = await ensure({ force: true });
    expect(second.root).toBe(first.root);
    expect(second.createdAt).toBeGreaterThan(first.createdAt);
    expect(existsSync(join(first.root, 'damage'))).toBe(false);
    expect(left()).toEqual([]);
  });

  it.each([
    ['a damaged stamp', (root: string) => writeFileSync(join(root, 'environment.json'), '{"profile"')],
    ['no interpreter', (root: string) => rmSync(join(root, 'bin/python'))],
    [
      'a stamp of another folder',
      (root: string) => {
        const stamp = join(root, 'environment.json');
        writeFileSync(stamp, readFileSync(stamp, 'utf8').replaceAll(root, '/elsewhere'));
      },
    ],
  ])('is made anew when it has %s', async (_what, damage) => {
    fake('bin/python3.10', '3.10.7');
    const { root } = await ensure();
    damage(root);
    expect(await findReady('onnx', undefined)).toBeUndefined();
    expect((await ensure()).root).toBe(root);
    expect(await findReady('onnx', undefined)).toBeDefined();
  });

  it('survives kill -9 while it is made', async () => {
    const interpreter = fake('bin/python3.10', '3.10.7');
    const script = fileURLToPath(new URL('fixtures/environment-script.ts', import.meta.url));
    const child = spawn(process.execPath, ['--import', 'tsx', script, interpreter], {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { ...process.env, FAKE_PIP: 'sleep 2' },
      stdio: 'ignore',
    });
    await until(
      () => existsSync(environmentsFolder()) && left().some((name) => name.includes('.tmp-')),
      'the half-made environment',
      20_000,
    );
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(left().length).toBeGreaterThan(0);
    expect(await findReady('onnx', interpreter)).toBeUndefined();
    const made = await ensure({ places: places({ named: interpreter }) });
    expect(existsSync(made.python)).toBe(true);
    expect(left()).toEqual([]);
  });

  it('names the folder that cannot be made', async () => {
    fake('bin/python3.10', '3.10.7');
    writeFileSync(join(folder, 'file'), '');
    process.env.DOPT_HOME = join(folder, 'file');
    const error = await rejection(ensure());
    expect(error).toMatchObject({ code: 'ENV_FOLDER', exitCode: 4, place: join(folder, 'file', 'envs') });
  });

  it('says which packages a system interpreter lacks', async () => {
    const named = join(folder, 'bare');
    writeFileSync(named, `#!/bin/sh\nexec ${python} -S "$@"\n`); // without site-packages
    chmodSync(named, 0o755);
    const error = await rejection(ensureEnvironment('onnx', 'system', { places: places({ named }) }));
    expect(error).toMatchObject({ code: 'ENV_SYSTEM_INCOMPLETE', exitCode: 4 });
    expect(error.message).toContain('onnxruntime: ModuleNotFoundError');
    expect((error.suggestions as string[])[0]).toContain('-m pip install onnx onnxruntime numpy pillow');
  });

  it('takes a system interpreter that has the packages and records its versions', async () => {
    const packages = join(folder, 'packages');
    for (const name of ['onnx', 'onnxruntime', 'numpy', 'PIL']) {
      mkdirSync(join(packages, name), { recursive: true });
      writeFileSync(join(packages, name, '__init__.py'), '');
    }
    mkdirSync(join(packages, 'onnx-9.9.9.dist-info'));
    writeFileSync(join(packages, 'onnx-9.9.9.dist-info', 'METADATA'), 'Name: onnx\nVersion: 9.9.9\n');
    process.env.PYTHONPATH = packages;
    const own = await ensureEnvironment('onnx', 'system', { places: places({ named: python! }) });
    expect(own).toMatchObject({ kind: 'system', versions: { onnx: '9.9.9' } });
    expect(own.how).toContain('DOPT_PYTHON');
  });

  it('names a system interpreter that cannot be started', async () => {
    const named = join(folder, 'nothing');
    const error = await rejection(ensureEnvironment('onnx', 'system', { places: places({ named }) }));
    expect(error).toMatchObject({ code: 'PYTHON_NOT_STARTED', place: named });
  });
});

describe.skipIf(python === undefined)('diagnose', () => {
  const profileOf = async (over: Partial<Places> = {}) => {
    const diagnosis = await diagnose(places(over));
    return { ...diagnosis, profile: diagnosis.findings.find(({ name }) => name === 'profile onnx')! };
  };

  it('says what would be used while nothing is made', async () => {
    fake('bin/python3.11', '3.11.4');
    const { ok, profile } = await profileOf();
    expect(ok).toBe(true);
    expect(profile.found).toContain('not made yet; Python 3.11.4');
    expect(existsSync(environmentsFolder())).toBe(false);
  });

  it('only warns where the newest PyTorch has no interpreter', async () => {
    fake('bin/python3.10', '3.10.7');
    const { ok, findings } = await diagnose(places());
    const current = findings.find(({ name }) => name === 'profile current')!;
    expect([ok, current.status]).toEqual([true, 'warning']);
    expect(current.found).toMatch(/Python 3\.11.*\n.*PyTorch 2/s);
    expect(current.remedies.join()).toContain('python3.11');
  });

  it('is not well when no interpreter fits, and says what to do', async () => {
    const { ok, profile } = await profileOf();
    expect(ok).toBe(false);
    expect(profile.status).toBe('missing');
    expect(profile.remedies.join()).toContain('Install Python 3.10');
  });

  it('finds an environment whose packages are gone', async () => {
    fake('bin/python3.10', '3.10.7');
    await ensure(); // the fake pip installs nothing
    const { profile } = await profileOf();
    expect(profile.status).toBe('missing');
    expect(profile.remedies).toEqual(['Make it anew: dopt env create onnx --force']);
  });

  it('finds an environment that does not work', async () => {
    fake('bin/python3.10', '3.10.7');
    const { python: broken } = await ensure();
    writeFileSync(broken, '#!/bin/sh\nexit 9\n');
    const { profile } = await profileOf();
    expect(profile).toMatchObject({ status: 'missing' });
    expect(profile.found).toContain('does not work');
  });

  it('judges the processor by what TensorFlow needs', () => {
    expect(diagnoseProcessor(new Set(['avx', 'avx2']), 'x64')).toMatchObject({
      status: 'ok',
      found: 'x64, avx avx2',
    });
    expect(diagnoseProcessor(new Set(['sse2']), 'x64')).toMatchObject({ status: 'warning' });
    expect(diagnoseProcessor(new Set(['asimd']), 'arm64').status).toBe('ok');
    expect(diagnoseProcessor(null, 'x64').status).toBe('ok');
  });

  it('judges Node versions', () => {
    expect(diagnoseNode('20.11.0', 'node').status).toBe('ok');
    expect(diagnoseNode('22.0.0', 'node').status).toBe('ok');
    expect(diagnoseNode('20.10.9', 'node').status).toBe('missing');
    expect(diagnoseNode('18.20.0', 'node').status).toBe('missing');
  });

  it('only warns where no compiler runs', async () => {
    const finding = await diagnoseTool('C++ compiler', [join(folder, 'no-such')], 'apt install g++');
    expect(finding).toMatchObject({ status: 'warning', where: null });
  });
});
