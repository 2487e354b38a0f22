import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRunning, withFileLock } from './file-lock.js';

let folder: string;
let lock: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-lock-'));
  lock = join(folder, 'x.lock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Process id of a process that has ended. */
const deadPid = () => spawnSync(process.execPath, ['-e', '0']).pid;

describe('withFileLock', () => {
  it('lets one in at a time', async () => {
    let inside = 0;
    let most = 0;
    await Promise.all(
      [1, 2, 3].map(() =>
        withFileLock(lock, async () => {
          inside += 1;
          most = Math.max(most, inside);
          await new Promise((resolve) => setTimeout(resolve, 20));
          inside -= 1;
        }),
      ),
    );
    expect(most).toBe(1);
    expect(existsSync(lock)).toBe(false);
  });

  it('is released when the work fails', async () => {
    await expect(
      withFileLock(lock, async () => {
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(existsSync(lock)).toBe(false);
  });

  it('takes over from a dead process at once', async () => {
    writeFileSync(lock, String(deadPid()));
    const waited: unknown[] = [];
    expect(await withFileLock(lock, async () => 'in', { onWait: (pid) => waited.push(pid) })).toBe('in');
    expect(waited).toEqual([]);
  });

  it('takes over from an owner that has not touched it for long', async () => {
    writeFileSync(lock, '1');
    const old = new Date(Date.now() - 60_000);
    utimesSync(lock, old, old);
    expect(await withFileLock(lock, async () => 'in')).toBe('in');
  });

  it('waits for a living owner and says for whom', async () => {
    writeFileSync(lock, '1');
    const waited: unknown[] = [];
    const running = withFileLock(lock, async () => 'in', { onWait: (pid) => waited.push(pid) });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(waited).toEqual([1]);
    rmSync(lock);
    expect(await running).toBe('in');
  });

  it('fails for a folder that is not there instead of waiting', async () => {
    await expect(withFileLock(join(folder, 'no', 'x.lock'), async () => 'in')).rejects.toThrow('ENOENT');
  });
});

describe('isRunning', () => {
  it('tells the living from the dead', () => {
    expect(isRunning(process.pid)).toBe(true);
    expect(isRunning(deadPid())).toBe(false);
  });
});
