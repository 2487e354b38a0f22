import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { isRunning } from '../bridge/file-lock.js';
import { UserError } from '../errors.js';

/** Who holds a run folder: the process and when it started, so that a reused process id is not taken for it. */
interface Owner {
  pid: number;
  started: string;
}

/**
 * Takes the lock file of a run folder.
 * @returns a function that gives it back
 * @throws UserError RUN_LOCKED when another living process has it; a lock left by a killed one is taken over
 */
export function lockRun(path: string, folder: string): () => void {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const file = openSync(path, 'wx');
      writeSync(file, JSON.stringify({ pid: process.pid, started: startTime(process.pid) } satisfies Owner));
      closeSync(file);
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      refuseLocked(path, folder);
      rmSync(path, { force: true });
    }
  }
  throw locked(folder, null);
}

/** Time in which a process that has made a lock file writes its name into it, in ms. */
const NAMELESS = 2000;

/** @throws UserError RUN_LOCKED when a living process holds the lock */
export function refuseLocked(path: string, folder: string): void {
  if (!existsSync(path)) return;
  const owner = readOwner(path);
  if (owner) {
    if (isRunning(owner.pid) && startTime(owner.pid) === owner.started) throw locked(folder, owner.pid);
    return;
  }
  const made = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  if (made !== undefined && Date.now() - made < NAMELESS) throw locked(folder, null);
}

/** Whether a living process of this machine holds the lock. */
export function isLocked(path: string): boolean {
  try {
    refuseLocked(path, '');
    return false;
  } catch {
    return true;
  }
}

function locked(folder: string, pid: number | null): UserError {
  const who = pid === null ? 'Another process' : `Process ${pid}`;
  return new UserError('RUN_LOCKED', `${who} is working in ${folder}.`, {
    place: folder,
    suggestions: ['Wait until it has finished, or give another folder: --out FOLDER'],
  });
}

function readOwner(path: string): Owner | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Owner;
  } catch {
    return null;
  }
}

/** When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); '' where there is no /proc. */
function startTime(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
