import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { isRunning } from '../src/bridge/file-lock.js';
import { JobSession } from '../src/bridge/job-session.js';
import { type JobOptions, type ReportEvent, runJob } from '../src/bridge/jobs.js';
import { anyPython, faking, rejection, until, withFolder } from './bridge-fake.js';

const python = anyPython();
if (python === undefined) console.warn('skipped: no Python 3.8 or newer on this machine');

const job = (words: string, options: JobOptions = {}) =>
  runJob({ python: python!, kind: 'venv' }, 'probe', {}, { ...options, extra: faking(words) });

/** Waits for the file in which the fake method wrote its process id. */
const pidIn = async (file: string) =>
  Number(await until(() => existsSync(file) && readFileSync(file, 'utf8'), 'the job', 20_000));

describe.skipIf(python === undefined)('runJob', () => {
  it('resolves with the result and hands out progress in order', async () => {
    const events: ReportEvent[] = [];
    const result = await job('progress:3', { onEvent: (event) => events.push(event) });
    expect(result.platform).toBe('fake');
    expect(events).toEqual([
      { type: 'progress', done: 1, total: 3, message: 'step' },
      { type: 'progress', done: 2, total: 3, message: 'step' },
      { type: 'progress', done: 3, total: 3, message: 'step' },
      { type: 'log', level: 'warning', message: 'a warning' },
      { type: 'usage', peakBytes: expect.any(Number) },
    ]);
  });

  it('leaves no job file behind', () =>
    // A temporary folder of its own: other processes of dopt come and go in the common one.
    withFolder(async (folder) => {
      vi.stubEnv('TMPDIR', folder);
      try {
        expect(tmpdir()).toBe(folder);
        await job('ok');
        await rejection(job('exit:1'));
        expect(readdirSync(folder)).toEqual([]);
      } finally {
        vi.unstubAllEnvs();
      }
    }));

  it('says that the interpreter is missing', async () => {
    const error = await rejection(runJob({ python: '/nowhere/python3', kind: 'venv' }, 'probe', {}));
    expect(error).toMatchObject({ code: 'PYTHON_NOT_STARTED', exitCode: 4 });
  });

  it.each([
    ['exit:7', 'with exit code 7'],
    ['systemexit:3', 'with exit code 3'],
    ['segv', 'by SIGSEGV'],
    ['kill', 'by SIGKILL'],
  ])('says how the process died (%s)', async (word, how) => {
    const error = await rejection(job(word));
    expect(error).toMatchObject({ code: 'PYTHON_DIED', exitCode: 5 });
    expect(error.message).toContain(how);
  });

  it.each([
    ['nan', 'BUG', 1],
    ['bytes', 'BUG', 1],
    ['wrong', 'BUG', 1],
    ['user', 'FAKE_USER', 3],
    ['environment', 'FAKE_ENV', 4],
    ['external', 'FAKE_EXT', 5],
    ['bug', 'BUG', 1],
    ['raise', 'PYTHON_EXCEPTION', 5],
    ['exit:75', 'INTERRUPTED', 75],
    ['ctrl-c-unheard', 'INTERRUPTED', 75],
  ])('maps %s to %s and exit code %i', async (word, code, exitCode) => {
    expect(await rejection(job(word))).toMatchObject({ code, exitCode });
  });

  it('keeps noise out of the events and appends it to the log file', async () => {
    await withFolder(async (folder) => {
      const logFile = join(folder, 'job.log');
      const events: ReportEvent[] = [];
      await job('noise', { logFile, onEvent: (event) => events.push(event) });
      const log = readFileSync(logFile, 'utf8');
      expect(log).toContain('native text on stdout');
      expect(log).toContain('python text on stderr');
      expect(log).toContain('the end');
      expect(events.map(({ type }) => type)).toEqual(['usage']);
    });
  });

  it('goes on when the log file cannot be written', async () => {
    expect((await job('noise', { logFile: '/nowhere/at/all.log' })).platform).toBe('fake');
  });

  it('passes over garbage on the event pipe', async () => {
    expect((await job('garbage')).platform).toBe('fake');
  });

  it('keeps what was printed in the error', async () => {
    const error = await rejection(job('segv'));
    expect(error.found).toContain('about to crash');
  });

  it('does not miss that it is cancelled while the process is being started', async () => {
    const abort = new AbortController();
    const cancelled = rejection(job('sleep:60', { signal: abort.signal }));
    abort.abort();
    expect(await cancelled).toMatchObject({ code: 'INTERRUPTED' });
  });

  it('cancels: the method cleans up, the error says interrupted', async () => {
    await withFolder(async (folder) => {
      const abort = new AbortController();
      const file = join(folder, 'proof');
      const cancelled = rejection(job(`cleanup:${file}`, { signal: abort.signal }));
      await until(() => existsSync(file), 'the job', 20_000);
      abort.abort();
      const error = await cancelled;
      expect(error).toMatchObject({ code: 'INTERRUPTED', exitCode: 75 });
      expect(readFileSync(file, 'utf8')).toBe('cleaned up');
    });
  });

  it('does not start what is already cancelled', async () => {
    const error = await rejection(job('ok', { signal: AbortSignal.abort() }));
    expect(error).toMatchObject({ code: 'INTERRUPTED' });
  });

  it('ends a job that does not listen to its cancellation', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 400);
    const start = performance.now();
    const error = await rejection(job('stubborn', { signal: abort.signal, graceMs: 300 }));
    expect(error).toMatchObject({ code: 'INTERRUPTED' });
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it('ends a job without heartbeat', async () => {
    const error = await rejection(job('deaf', { hangAfterMs: 800, graceMs: 200 }));
    expect(error).toMatchObject({ code: 'PYTHON_HANG', exitCode: 5 });
  });

  it('leaves a slow job with heartbeat alone', async () => {
    expect((await job('sleep:1.5', { hangAfterMs: 800 })).platform).toBe('fake');
  });

  it('cancels the job and passes on what a listener throws', async () => {
    const error = await rejection(
      job('progress:100000', {
        onEvent: () => {
          throw new Error('from the listener');
        },
      }),
    );
    expect(error.message).toBe('from the listener');
  });

  it('is not held up by a grandchild that keeps the pipes open', async () => {
    const start = performance.now();
    await job('grandchild');
    expect(performance.now() - start).toBeLessThan(2500);
  });

  it('ignores SIGINT, which a terminal sends to the whole group', async () => {
    await withFolder(async (folder) => {
      const file = join(folder, 'pid');
      const abort = new AbortController();
      const running = rejection(job(`pid:${file}`, { signal: abort.signal }));
      const pid = await pidIn(file);
      process.kill(pid, 'SIGINT');
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(isRunning(pid)).toBe(true);
      abort.abort();
      expect(await running).toMatchObject({ code: 'INTERRUPTED' });
    });
  });

  it('leaves no orphan when Node is killed', async () => {
    await withFolder(async (folder) => {
      const file = join(folder, 'pid');
      const script = fileURLToPath(new URL('fixtures/job-script.ts', import.meta.url));
      const child = spawn(process.execPath, ['--import', 'tsx', script, python!], {
        cwd: fileURLToPath(new URL('..', import.meta.url)),
        env: { ...process.env, TMPDIR: folder, DOPT_TEST_FAKE: JSON.stringify(faking(`pid:${file}`)) },
        stdio: 'ignore',
      });
      const pid = await pidIn(file);
      child.kill('SIGKILL');
      await until(() => !isRunning(pid), 'the end of the job', 3000);
    });
  });
});

describe.skipIf(python === undefined)('JobSession', () => {
  const open = (words: string, signal?: AbortSignal) =>
    new JobSession(
      { python: python!, kind: 'venv' },
      { extra: faking(words), ...(signal ? { signal } : {}) },
    );

  it('keeps what methods make, and begins anew after its process died', async () => {
    const session = open('kept,kept,progress:2,kill');
    const events: ReportEvent[] = [];
    const call = () => session.run('probe', {}, (event) => events.push(event));
    expect([(await call()).platform, (await call()).platform]).toEqual(['call 1', 'call 1']);
    await call();
    expect(events.map(({ type }) => type)).toEqual(['progress', 'progress', 'log']);
    expect(await rejection(call())).toMatchObject({ code: 'PYTHON_DIED' });
    expect((await call()).platform).toBe('call 1');
    await session.close();
  });

  it('goes on after an error, and ends when it is cancelled', async () => {
    const stop = new AbortController();
    const session = open('raise:ValueError,ok,sleep:60', stop.signal);
    const call = () => session.run('probe', {}, () => {});
    expect(await rejection(call())).toMatchObject({ code: 'PYTHON_EXCEPTION' });
    expect((await call()).platform).toBe('fake');
    setTimeout(() => stop.abort(), 200);
    expect(await rejection(call())).toMatchObject({ code: 'INTERRUPTED' });
    expect(await rejection(call())).toMatchObject({ code: 'INTERRUPTED' });
    await session.close();
  });
});
