import { open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

export interface FileLockOptions {
  /** Called once, with the owner's process id, when somebody else holds the lock. */
  onWait?: (owner: number | null) => void;
  /** A lock whose owner has not touched it for so long is given up. Default 30 s; owners touch it every third of that. */
  staleAfterMs?: number;
}

/**
 * Runs `work` while holding the lock file at `path`.
 *
 * A lock left behind by a killed process is taken over: its owner is dead, or has not touched it lately (another machine
 * on a shared disk, a reused process id). In the rare race of two takers both may run; use it to avoid doing work twice,
 * and make the work itself atomic.
 */
export async function withFileLock<T>(
  path: string,
  work: () => Promise<T>,
  options: FileLockOptions = {},
): Promise<T> {
  const staleAfterMs = options.staleAfterMs ?? 30_000;
  let told = false;
  while (!(await create(path))) {
    if (await isStale(path, staleAfterMs)) {
      await rm(path, { force: true });
      continue;
    }
    if (!told) options.onWait?.(await ownerOf(path));
    told = true;
    await sleep(200);
  }
  const touch = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {}); // taken over or removed: nothing to keep alive any more
  }, staleAfterMs / 3);
  try {
    return await work();
  } finally {
    clearInterval(touch);
    if ((await ownerOf(path)) === process.pid) await rm(path, { force: true });
  }
}

async function create(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(String(process.pid));
    await file.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function ownerOf(path: string): Promise<number | null> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return /^\d+$/.test(text) ? Number(text) : null;
}

async function isStale(path: string, staleAfterMs: number): Promise<boolean> {
  const info = await stat(path).catch(() => null);
  if (info === null) return true;
  const owner = await ownerOf(path);
  if (owner !== null && owner !== process.pid && !isRunning(owner)) return true;
  return Date.now() - info.mtimeMs > staleAfterMs;
}

/** Whether a process of that id exists on this machine. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
