import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isRunning } from '../src/bridge/file-lock.js';
import { PythonRuntime, type RuntimeOptions } from '../src/bridge/runtime.js';
import { anyPython, faking, rejection, until, withFolder } from './bridge-fake.js';

const python = anyPython();
if (python === undefined) console.warn('skipped: no Python 3.8 or newer on this machine');

function runtime(words: string, options: RuntimeOptions = {}): PythonRuntime {
  const made = new PythonRuntime(
    { python: python!, kind: 'venv' },
    { ...options, extra: { ...faking(words), ...options.extra } },
  );
  onTestFinished(() => made.close());
  return made;
}

describe.skipIf(python === undefined)('PythonRuntime', () => {
  it('answers, call after call', async () => {
    const one = runtime('ok');
    expect((await one.invoke('probe', {})).platform).toBe('fake');
    const many = await Promise.all(Array.from({ length: 20 }, () => one.invoke('probe', {})));
    expect(many).toHaveLength(20);
  });

  it('gives the first answer in about a quarter of a second', async () => {
    const start = performance.now();
    await runtime('ok').invoke('probe', {});
    expect(performance.now() - start).toBeLessThan(2000); // loose: the machine may be busy
  });

  it('says that the interpreter is missing', async () => {
    const missing = new PythonRuntime({ python: '/nowhere/python3', kind: 'venv' });
    const error = await rejection(missing.invoke('probe', {}));
    expect(error).toMatchObject({ code: 'PYTHON_NOT_STARTED', exitCode: 4, place: '/nowhere/python3' });
    await missing.close();
  });

  it('says that the Python side cannot be loaded', async () => {
    await withFolder(async (folder) => {
      mkdirSync(join(folder, 'dopt'));
      writeFileSync(join(folder, 'dopt', '__init__.py'), 'raise RuntimeError("half an installation")\n');
      const half = runtime('ok', { extra: { PYTHONPATH: folder } });
      const error = await rejection(half.invoke('probe', {}));
      expect(error).toMatchObject({ code: 'PYTHON_WORKER', exitCode: 5 });
      expect(String((error.cause as { traceback: string }).traceback)).toContain('half an installation');
    });
  });

  it.each([
    ['exit:7', 'with exit code 7'],
    ['systemexit:3', 'with exit code 3'],
    ['segv', 'by SIGSEGV'],
    ['kill', 'by SIGKILL'],
  ])('notices at once that Python died (%s), and starts it again', async (word, how) => {
    const one = runtime(`ok,${word}`);
    await one.invoke('probe', {});
    const start = performance.now();
    const error = await rejection(one.invoke('probe', {}));
    expect(error).toMatchObject({ code: 'PYTHON_DIED', kind: 'external', exitCode: 5 });
    expect(error.message).toContain(how);
    expect(performance.now() - start).toBeLessThan(2000);
    // The next call gets a new interpreter, whose first call is `ok` again.
    expect((await one.invoke('probe', {})).platform).toBe('fake');
  });

  it('keeps what Python printed before it died', async () => {
    const error = await rejection(runtime('segv').invoke('probe', {}));
    expect(error.found).toContain('about to crash');
    expect((error.cause as { output: string }).output).toContain('about to crash');
  });

  it('rejects calls that wait behind one that dies only if they fail themselves', async () => {
    const one = runtime('exit:1');
    const both = [one.invoke('probe', {}), one.invoke('probe', {})];
    for (const call of both) expect(await rejection(call)).toMatchObject({ code: 'PYTHON_DIED' });
  });

  it.each([
    ['nan', 'result.packages.x is nan'],
    ['bytes', 'result.platform is of type builtins.bytes'],
  ])('turns a result that is not JSON (%s) into an error and lives on', async (word, text) => {
    const one = runtime(`${word},ok`);
    const error = await rejection(one.invoke('probe', {}));
    expect(error).toMatchObject({ kind: 'bug', exitCode: 1 });
    expect(error.message).toContain(text);
    const pid = one.pid;
    await one.invoke('probe', {});
    expect(one.pid).toBe(pid);
  });

  it('checks the result against the protocol', async () => {
    const error = await rejection(runtime('wrong').invoke('probe', {}));
    expect(error).toMatchObject({ kind: 'bug' });
    expect(error.found).toContain('python');
  });

  it('checks the parameters before Python is started', async () => {
    const one = runtime('ok');
    const error = await rejection(one.invoke('probe', { nonsense: 1 } as never));
    expect(error).toMatchObject({ kind: 'bug' });
    expect(one.pid).toBeUndefined();
  });

  it.each([
    ['user', 'FAKE_USER', 3],
    ['environment', 'FAKE_ENV', 4],
    ['external', 'FAKE_EXT', 5],
    ['bug', 'BUG', 1],
    ['raise', 'PYTHON_EXCEPTION', 5],
  ])('maps an exception of kind %s to %s and exit code %i', async (word, code, exitCode) => {
    expect(await rejection(runtime(word).invoke('probe', {}))).toMatchObject({ code, exitCode });
  });

  it('hands over place, suggestions and traceback of an exception', async () => {
    const error = await rejection(runtime('user').invoke('probe', {}));
    expect(error).toMatchObject({ message: 'your file is wrong', place: 'a.onnx', suggestions: ['mend it'] });
    expect((error.cause as { traceback: string }).traceback).toContain('fake_methods.py');
  });

  it('stops a call at its time limit and keeps the interpreter', async () => {
    const one = runtime('sleep:30,ok');
    const error = await rejection(one.invoke('probe', {}, { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: 'PYTHON_TIMEOUT', exitCode: 5 });
    const pid = one.pid;
    expect(pid).toBeDefined();
    await one.invoke('probe', {});
    expect(one.pid).toBe(pid);
  });

  it('counts the time limit from the start of the call, not from its place in the queue', async () => {
    const one = runtime('sleep:0.6,ok');
    const first = one.invoke('probe', {});
    await Promise.all([first, one.invoke('probe', {}, { timeoutMs: 500 })]);
  });

  it.each(['deaf', 'stubborn'])('ends an interpreter that does not listen (%s)', async (word) => {
    const one = runtime(word, { graceMs: 300 });
    const call = one.invoke('probe', {}, { timeoutMs: 500 });
    const pid = await until(() => one.pid, 'the interpreter');
    expect(await rejection(call)).toMatchObject({ code: 'PYTHON_TIMEOUT' });
    expect(isRunning(pid)).toBe(false);
  });

  it('cancels on abort with exit code 75 and keeps the interpreter', async () => {
    const one = runtime('ok,sleep:30,ok');
    await one.invoke('probe', {});
    const pid = one.pid;
    const abort = new AbortController();
    const call = one.invoke('probe', {}, { signal: abort.signal });
    setTimeout(() => abort.abort(), 200);
    expect(await rejection(call)).toMatchObject({ code: 'INTERRUPTED', exitCode: 75 });
    await one.invoke('probe', {});
    expect(one.pid).toBe(pid);
  });

  it('survives SIGINT between calls, as a terminal sends it to the whole group', async () => {
    const one = runtime('ok');
    await one.invoke('probe', {});
    process.kill(one.pid!, 'SIGINT');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await one.invoke('probe', {});
  });

  it('keeps what Python prints away from our own output', async () => {
    const one = runtime('noise,exit:1');
    expect((await one.invoke('probe', {})).platform).toBe('fake');
    const error = await rejection(one.invoke('probe', {}));
    const { output } = error.cause as { output: string };
    expect(output).toContain('the end');
    expect(output.length).toBeLessThanOrEqual(64 * 1024);
  });

  it('runs several interpreters at once, really beside each other', async () => {
    const pair = [runtime('ok,sleep:1'), runtime('ok,sleep:1')];
    await Promise.all(pair.map((one) => one.invoke('probe', {})));
    const start = performance.now();
    await Promise.all(pair.map((one) => one.invoke('probe', {})));
    expect(performance.now() - start).toBeLessThan(1900);
    expect(pair[0]!.pid).not.toBe(pair[1]!.pid);
  });

  it('hides foreign Python variables from the child and sets its own', async () => {
    process.env.PYTHONHOME = '/nonsense';
    onTestFinished(() => {
      delete process.env.PYTHONHOME;
    });
    const one = runtime('env:PYTHONHOME,env:PYTHONHASHSEED,env:OMP_NUM_THREADS', { threads: 3 });
    const seen: string[] = [];
    for (let i = 0; i < 3; i += 1) seen.push((await one.invoke('probe', {})).platform);
    expect(seen).toEqual(['None', "'0'", "'3'"]);
  });

  it('rejects a call that runs while it is closed, and later calls', async () => {
    const one = runtime('sleep:30');
    const call = rejection(one.invoke('probe', {}));
    const pid = await until(() => one.pid, 'the interpreter');
    await one.close();
    expect(await call).toMatchObject({ code: 'PYTHON_DIED' });
    expect(isRunning(pid)).toBe(false);
    expect(await rejection(one.invoke('probe', {}))).toMatchObject({ kind: 'bug' });
  });

  const script = fileURLToPath(new URL('fixtures/runtime-script.ts', import.meta.url));
  const tsx = fileURLToPath(new URL('../node_modules/.bin/tsx', import.meta.url));
  const node = (...args: string[]) =>
    spawn(process.execPath, ['--import', 'tsx', script, python!, ...args], {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { ...process.env, DOPT_TEST_FAKE: JSON.stringify(faking(args[1] ?? 'ok')) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });

  it.skipIf(!existsSync(tsx)).each(['close', 'forget'])('lets Node exit (%s)', async (mode) => {
    const child = node(mode);
    const [code] = (await once(child, 'exit')) as [number];
    expect(code).toBe(0);
  });

  it.skipIf(!existsSync(tsx))('leaves no orphan when Node is killed during a call', async () => {
    await withFolder(async (folder) => {
      const file = join(folder, 'pid');
      const child = node('forget', `pid:${file}`);
      const pid = Number(
        await until(() => existsSync(file) && readFileSync(file, 'utf8'), 'the worker', 20_000),
      );
      expect(isRunning(pid)).toBe(true);
      child.kill('SIGKILL');
      await until(() => !isRunning(pid), 'the end of the worker', 3000);
    });
  });
});
