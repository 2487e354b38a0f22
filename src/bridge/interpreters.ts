import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import type { Result } from 'execa';
import { homeFolder } from './home.js';
import { minorOf } from './profiles.js';

/** A place where an interpreter may be. */
export interface Candidate {
  path: string;
  /** Why it was looked at, e.g. `DOPT_PYTHON` or `python3.10 on PATH`. */
  from: string;
}

/** What was found out about a candidate; `reason` says why it cannot be used. */
export interface Trial extends Candidate {
  version: string | null;
  reason: string | null;
}

export interface Interpreter extends Candidate {
  version: string;
}

/** Where to look; the real machine unless a test says otherwise. */
export interface Places {
  named: string | undefined;
  path: string[];
  /** Folders that hold one folder an installed version: pyenv's, uv's, and where dopt brings its own. */
  versionFolders: string[];
  /** Folder that an interpreter may be brought to where none fits; none is brought without it. */
  home?: string;
}

/** Where interpreters are that dopt brought. */
export const bringFolder = (home: string): string => join(home, 'python');

export function machinePlaces(named = process.env.DOPT_PYTHON || undefined): Places {
  const user = homedir();
  const home = homeFolder();
  return {
    named,
    path: (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== ''),
    versionFolders: [
      join(process.env.PYENV_ROOT || join(user, '.pyenv'), 'versions'),
      process.env.UV_PYTHON_INSTALL_DIR || join(user, '.local/share/uv/python'),
      bringFolder(home),
    ],
    home,
  };
}

/**
 * Candidates for a Python minor version, best first: pythonX.Y on PATH (every one, since a shim of pyenv may be dead and
 * the next one alive), installed versions of pyenv and uv newest first, python3 on PATH.
 */
export function candidates(minor: string, places: Places): Candidate[] {
  const named = `python${minor}`;
  const list = onPath(named, places.path);
  for (const folder of places.versionFolders) {
    for (const version of versionsIn(folder, minor)) {
      list.push({ path: join(folder, version, 'bin', named), from: `installed version ${version}` });
    }
  }
  list.push(...onPath('python3', places.path));
  return list.filter(({ path }, i) => existsSync(path) && list.findIndex((c) => c.path === path) === i);
}

function onPath(name: string, path: string[]): Candidate[] {
  return path.map((folder) => ({ path: resolve(folder, name), from: `${name} on PATH` }));
}

function versionsIn(folder: string, minor: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  const pattern = new RegExp(`^(?:cpython-)?${minor.replace('.', '\\.')}(?:\\.(\\d+))?(?:-|$)`);
  const patch = (name: string) => Number(pattern.exec(name)?.[1] ?? 0);
  return names.filter((name) => pattern.test(name)).sort((a, b) => patch(b) - patch(a));
}

/** Prints the version; fails without what `python -m venv` needs, which Debian ships apart. */
const CHECK = `
import sys
try:
    import venv, ensurepip
except ImportError as error:
    sys.exit("NOVENV " + str(error))
print("%d.%d.%d" % sys.version_info[:3])
`;

/** Starts a candidate and finds out whether virtual environments can be made with it. */
export async function tryInterpreter(candidate: Candidate, timeoutMs = 15_000): Promise<Trial> {
  const { execa } = await import('execa');
  const result = await execa(candidate.path, ['-I', '-c', CHECK], {
    reject: false,
    timeout: timeoutMs,
    stdin: 'ignore',
  });
  const version = /^\d+\.\d+\.\d+$/.exec(result.stdout?.trim() ?? '')?.[0] ?? null;
  if (!result.failed && version !== null) return { ...candidate, version, reason: null };
  return { ...candidate, version: null, reason: reasonOf(result, timeoutMs) };
}

function reasonOf(
  result: Pick<Result<{ reject: false }>, 'stderr' | 'timedOut' | 'exitCode' | 'code'>,
  timeoutMs: number,
): string {
  if (result.timedOut) return `does not answer within ${timeoutMs / 1000} s`;
  const lines = String(result.stderr ?? '')
    .trim()
    .split('\n');
  if (lines.at(-1)?.startsWith('NOVENV')) {
    return 'cannot make virtual environments (the package python3-venv of your system is missing)';
  }
  return `does not run: ${lines[0] || result.code || `exit code ${result.exitCode}`}`;
}

/**
 * The first interpreter that runs, over the minor versions in order of preference, and everything that was tried on the
 * way. A named interpreter (DOPT_PYTHON) is the only candidate: the user meant it.
 */
export async function findInterpreter(
  minors: string[],
  places: Places,
  attempt: (candidate: Candidate) => Promise<Trial> = tryInterpreter,
): Promise<{ found: Interpreter | null; tried: Trial[] }> {
  if (places.named !== undefined) {
    const trial = await attempt({ path: places.named, from: 'DOPT_PYTHON' });
    const fits = trial.version !== null && minors.includes(minorOf(trial.version));
    const reason = trial.reason ?? (fits ? null : `is Python ${trial.version}, not ${minors.join(' or ')}`);
    return { found: fits ? asInterpreter(trial) : null, tried: [{ ...trial, reason }] };
  }
  const tried = new Map<string, Trial>();
  for (const minor of minors) {
    for (const candidate of candidates(minor, places)) {
      const trial = tried.get(candidate.path) ?? (await attempt(candidate));
      tried.set(candidate.path, trial);
      if (trial.version !== null && minorOf(trial.version) === minor) {
        return { found: asInterpreter(trial), tried: [...tried.values()] };
      }
      if (trial.version !== null && trial.reason === null && !minors.includes(minorOf(trial.version))) {
        tried.set(candidate.path, {
          ...trial,
          reason: `is Python ${trial.version}, not ${minors.join(' or ')}`,
        });
      }
    }
  }
  return { found: null, tried: [...tried.values()] };
}

const asInterpreter = ({ path, from, version }: Trial): Interpreter => ({ path, from, version: version! });
