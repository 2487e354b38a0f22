import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { makeFolder } from '../run/atomic.js';
import { runStep, StepFailure } from './build-step.js';
import { PYTHON_ROOT } from './child-environment.js';
import { withFileLock } from './file-lock.js';
import { bringFolder, type Places, type Trial } from './interpreters.js';
import { moveInto, pipArguments } from './venv.js';

/** Interpreters that can run pip well enough to install uv. */
const ABLE_TO_INSTALL = /^3\.(?:[89]|\d\d)\./;
const UV_LOCK = join(PYTHON_ROOT, 'requirements', 'uv.txt');

/** uv on PATH, or the one that was installed here before; undefined where there is none. */
function uvThatIsThere(home: string, path: readonly string[]): string | undefined {
  return [...path.map((folder) => resolve(folder, 'uv')), join(home, 'uv', 'bin', 'uv')].find(existsSync);
}

/** Whether Python can be brought: by uv that is there, or by one that some Python installs. */
export const canBring = (places: Places, tried: readonly Trial[]): boolean =>
  places.home !== undefined &&
  (uvThatIsThere(places.home, places.path) !== undefined || installerAmong(tried) !== undefined);

const installerAmong = (tried: readonly Trial[]): Trial | undefined =>
  tried.find(({ version }) => version !== null && ABLE_TO_INSTALL.test(version));

/**
 * Brings a Python of a minor version into $DOPT_HOME/python, where no interpreter of the machine fits: uv downloads a build of
 * python-build-standalone and checks its digest. Where uv is not on PATH, any Python from 3.8 on installs it from the package
 * index into $DOPT_HOME/uv, by the digests of uv.txt.
 * @returns why it could not be brought, null where it was
 */
export async function bringPython(
  minor: string,
  places: Places,
  tried: readonly Trial[],
  say: (line: string) => void,
): Promise<string | null> {
  const { home } = places;
  if (home === undefined) return null;
  try {
    makeFolder(home);
    return await withFileLock(join(home, 'python.lock'), async () => {
      const uv = uvThatIsThere(home, places.path) ?? (await installUv(home, installerAmong(tried), say));
      if (uv === undefined)
        return 'uv, which brings Python, is not on PATH, and there is no Python to install it with';
      say(
        `No Python ${minor} here: bringing it with uv, about 30 MB to download, 100 MB on disk under ${bringFolder(home)}.`,
      );
      await runStep(uv, ['python', 'install', minor], {
        variables: {
          UV_PYTHON_INSTALL_DIR: bringFolder(home),
          UV_PYTHON_INSTALL_BIN: '0',
          UV_NO_PROGRESS: '1',
        },
      });
      return null;
    });
  } catch (error) {
    const reason = error instanceof StepFailure ? error.lastLines : (error as Error).message;
    return `uv could not bring Python ${minor}: ${reason}`;
  }
}

async function installUv(
  home: string,
  python: Trial | undefined,
  say: (line: string) => void,
): Promise<string | undefined> {
  if (python === undefined) return undefined;
  const root = join(home, 'uv');
  const building = `${root}.tmp-${process.pid}`;
  try {
    say(`Installing uv with ${python.path}, about 20 MB.`);
    await runStep(python.path, ['-m', 'venv', building]);
    await runStep(join(building, 'bin', 'python'), pipArguments(UV_LOCK));
    await moveInto(building, root);
  } finally {
    await rm(building, { recursive: true, force: true });
  }
  return join(root, 'bin', 'uv');
}
