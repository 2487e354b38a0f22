import { join } from 'node:path';
import { EnvironmentError } from '../errors.js';
import { makeFolder } from '../run/atomic.js';
import { bringPython } from './bring-python.js';
import { containerEnvironment } from './container/environment.js';
import { withFileLock } from './file-lock.js';
import { homeFolder } from './home.js';
import { findInterpreter, type Interpreter, machinePlaces, type Places, type Trial } from './interpreters.js';
import {
  type EnvironmentKind,
  environmentDigest,
  type Lock,
  minorOf,
  PROFILE_SPECS,
  type Profile,
} from './profiles.js';
import { type Environment, readEnvironments, usable } from './stamps.js';
import { systemEnvironment } from './system-environment.js';
import { buildVenv } from './venv.js';

export type { Environment } from './stamps.js';

export interface EnsureOptions {
  /** One line at a time of what is being done. */
  onProgress?: (line: string) => void;
  /** Interpreter to use instead of DOPT_PYTHON and the search. */
  python?: string;
  /** Make the environment anew even when it is there. */
  force?: boolean;
  /** Look for the best interpreter again instead of taking the environment that is there. */
  refresh?: boolean;
  /** Whether work in a container is to see the GPUs of this machine. */
  gpu?: boolean;
  /** Where interpreters are looked for; tests pass their own. */
  places?: Places;
}

/** Folder that holds the environments: $DOPT_HOME/envs. */
export const environmentsFolder = (): string => join(homeFolder(), 'envs');

/**
 * The Python environment of a profile, made on first need.
 *
 * A finished environment is found by its stamp, without starting Python. Rejects with EnvironmentError:
 * PYTHON_NOT_FOUND (with everything that was tried), ENV_VENV_FAILED, ENV_INSTALL_FAILED, ENV_SYSTEM_INCOMPLETE; for
 * containers CONTAINER_ENGINE, IMAGE_BUILD_FAILED, IMAGE_MISSING.
 */
export async function ensureEnvironment(
  profile: Profile,
  kind: EnvironmentKind = 'venv',
  options: EnsureOptions = {},
): Promise<Environment> {
  const places = options.places ?? machinePlaces(options.python ?? (process.env.DOPT_PYTHON || undefined));
  if (kind === 'system') return systemEnvironment(profile, places);
  if (kind === 'docker') {
    const say = options.onProgress ?? (() => {});
    return containerEnvironment(profile, join(homeFolder(), 'images'), say, options.gpu);
  }
  if (!options.force && !options.refresh) {
    const ready = await findReady(profile, places.named);
    if (ready) return ready;
  }
  const { locks } = PROFILE_SPECS[profile];
  const found = await interpreterFor(profile, places, options.onProgress ?? (() => {}));
  const lock = locks.find(({ minor }) => minor === minorOf(found.version))!;
  return make(profile, lock, found, options);
}

/** The best interpreter for a profile, brought where the machine has none and none was named. @throws EnvironmentError PYTHON_NOT_FOUND */
async function interpreterFor(
  profile: Profile,
  places: Places,
  say: (line: string) => void,
): Promise<Interpreter> {
  const minors = PROFILE_SPECS[profile].locks.map((lock) => lock.minor);
  const { found, tried } = await findInterpreter(minors, places);
  if (found !== null) return found;
  if (places.named !== undefined) throw pythonNotFound(profile, tried, places);
  const reason = await bringPython(minors[0]!, places, tried, say);
  const again = reason === null ? await findInterpreter(minors, places) : null;
  if (again?.found) return again.found;
  throw pythonNotFound(profile, again?.tried ?? tried, places, reason);
}

/** A finished environment of the locks as they are now, the best lock first; undefined when there is none. */
export async function findReady(
  profile: Profile,
  named: string | undefined,
): Promise<Environment | undefined> {
  const present = (await readEnvironments(environmentsFolder())).filter(
    (environment) => environment.profile === profile && usable(environment),
  );
  for (const lock of PROFILE_SPECS[profile].locks) {
    for (const environment of present) {
      if (named !== undefined && environment.interpreter !== named) continue;
      const { python } = environment.versions;
      if (minorOf(python ?? '') !== lock.minor) continue;
      if ((await environmentDigest(lock, python!)) === environment.digest) return environment;
    }
  }
  return undefined;
}

/** Every finished environment, newest first; `current` marks those that commands would take. */
export async function listEnvironments(): Promise<(Environment & { current: boolean })[]> {
  const present = await readEnvironments(environmentsFolder());
  return Promise.all(
    present.map(async (environment) => {
      const ready = await findReady(environment.profile, machinePlaces().named);
      return { ...environment, current: ready?.root === environment.root };
    }),
  );
}

async function make(
  profile: Profile,
  lock: Lock,
  interpreter: Interpreter,
  options: EnsureOptions,
): Promise<Environment> {
  const say = options.onProgress ?? (() => {});
  const folder = environmentsFolder();
  const digest = await environmentDigest(lock, interpreter.version);
  const root = join(folder, `${profile}-${digest}`);
  try {
    makeFolder(folder);
  } catch (cause) {
    throw new EnvironmentError(
      'ENV_FOLDER',
      `Cannot make the folder ${folder}: ${(cause as Error).message}.`,
      {
        place: folder,
        cause,
        suggestions: ['Set DOPT_HOME to a folder that you can write to.'],
      },
    );
  }
  const asked = Date.now();
  return withFileLock(
    `${root}.lock`,
    async () => {
      const present = (await readEnvironments(folder)).find((one) => one.root === root && usable(one));
      // With --force, one that another process finished while this one waited is new enough.
      if (present && (!options.force || present.createdAt > asked)) return present;
      if (lock.notice !== null) say(lock.notice);
      return buildVenv({ profile, lock, interpreter, digest, root, say });
    },
    {
      onWait: (owner) =>
        say(`Waiting for process ${owner ?? 'unknown'}, which is making the same environment.`),
    },
  );
}

/** The error for a profile whose interpreter is nowhere: everything that was tried, and what to do. */
export function pythonNotFound(
  profile: Profile,
  tried: Trial[],
  places: Places,
  notBrought: string | null = null,
): EnvironmentError {
  const { locks, modules } = PROFILE_SPECS[profile];
  const best = locks[0]!.minor;
  const minors = locks.map((lock) => lock.minor).join(' or ');
  const lines = tried.map(({ path, from, reason }) => `  ${path} (${from}): ${reason}`);
  const looked = `PATH${places.versionFolders.map((folder) => `, ${folder}`).join('')}`;
  return new EnvironmentError(
    'PYTHON_NOT_FOUND',
    `The ${profile} profile needs Python ${minors}, and no interpreter fits. Tried:\n` +
      (lines.length > 0 ? lines.join('\n') : `  nothing: there is no Python in ${looked}`) +
      (notBrought === null ? '' : `\n${notBrought}`),
    {
      expected: `Python ${minors} with the venv module`,
      suggestions: [
        ...(places.named === undefined
          ? []
          : ['Unset DOPT_PYTHON to search for an interpreter, or point it elsewhere.']),
        `Install Python ${best} (apt install python${best} python${best}-venv where your system has it; else: pyenv install ${best}).`,
        ...(notBrought === null
          ? []
          : [
              'Install uv (https://docs.astral.sh/uv), or let it reach its downloads: a proxy, or UV_PYTHON_INSTALL_MIRROR.',
            ]),
        `Name an interpreter: DOPT_PYTHON=/path/to/python${best}.`,
        `Use an interpreter of your own that has ${Object.values(modules).join(', ')}: --env system.`,
      ],
    },
  );
}
