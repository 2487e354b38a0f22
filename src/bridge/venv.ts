import { readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EnvironmentError } from '../errors.js';
import { runStep, StepFailure } from './build-step.js';
import { clearExecutableStacks } from './executable-stack.js';
import { isRunning } from './file-lock.js';
import type { Interpreter } from './interpreters.js';
import { type Lock, lockPath, type Profile } from './profiles.js';
import { PythonRuntime } from './runtime.js';
import { type Environment, writeStamp } from './stamps.js';

export interface VenvPlan {
  profile: Profile;
  lock: Lock;
  interpreter: Interpreter;
  digest: string;
  /** Final place. */
  root: string;
  say: (line: string) => void;
}

/**
 * Makes a virtual environment from a lock file. It is built in a folder beside its final place and gets its name when
 * it is complete, so a killed build leaves nothing that could be taken for an environment.
 */
export async function buildVenv(plan: VenvPlan): Promise<Environment> {
  const { profile, interpreter, root, say } = plan;
  await sweep(root);
  const building = `${root}.tmp-${process.pid}`;
  try {
    const { download, disk } = plan.lock.megabytes;
    say(
      `Making the ${profile} environment with Python ${interpreter.version} (${interpreter.path}): ` +
        `about ${download} MB to download, ${disk} MB on disk under ${dirname(root)}.`,
    );
    await named(runStep(interpreter.path, ['-m', 'venv', building]), venvFailed(interpreter));
    const python = join(building, 'bin', 'python');
    await named(
      runStep(python, pipArguments(lockPath(plan.lock)), {
        onLine: (line) => PIP_LINES.test(line) && say(shorten(line)),
      }),
      installFailed(plan.lock),
    );
    for (const library of await clearExecutableStacks(join(building, 'lib'))) {
      say(`Taken from ${basename(library)}: its wish for an executable stack, which newer systems refuse.`);
    }
    say('Checking the packages.');
    const { packages } = await probe(python);
    const environment: Environment = {
      profile,
      kind: 'venv',
      python: join(root, 'bin', 'python'),
      versions: { python: interpreter.version, ...packages },
      digest: plan.digest,
      root,
      how: `Python ${interpreter.version}, found as ${interpreter.from} (${interpreter.path})`,
      interpreter: interpreter.path,
      createdAt: Date.now(),
    };
    await writeStamp(building, environment);
    await moveInto(building, root);
    say(`The ${profile} environment is ready: ${root}`);
    return environment;
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}

/** What pip installs a lock file with: every file by its digest, nothing compiled. */
export const pipArguments = (lockFile: string): string[] => [
  ...['-m', 'pip', 'install', '--require-hashes', '--only-binary', ':all:', '--no-deps'],
  ...['--no-input', '--disable-pip-version-check', '--progress-bar', 'off'],
  ...['--requirement', lockFile],
];

/** What pip prints about one package, without digests and paths. */
function shorten(line: string): string {
  return line
    .replace(/\(from -r .*/, '')
    .slice(0, 120)
    .trimEnd();
}

const PIP_LINES = /^\s*(Collecting|Downloading|Installing|Successfully)/;

async function probe(python: string): Promise<{ python: string; packages: Record<string, string> }> {
  await using runtime = new PythonRuntime({ python, kind: 'venv' });
  return await runtime.invoke('probe', {});
}

/** Puts the finished folder in its place; one that was there goes aside first, so the place is never half-filled. */
export async function moveInto(from: string, to: string): Promise<void> {
  const aside = `${to}.old-${process.pid}`;
  await rename(to, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(from, to);
  await rm(aside, { recursive: true, force: true });
}

/** Removes what killed builds of the same environment left. */
async function sweep(root: string): Promise<void> {
  const prefix = basename(root);
  for (const name of await readdir(dirname(root))) {
    const owner = name.startsWith(prefix) ? /\.(?:tmp|old)-(\d+)$/.exec(name)?.[1] : undefined;
    if (owner !== undefined && !isRunning(Number(owner))) {
      await rm(join(dirname(root), name), { recursive: true, force: true });
    }
  }
}

/** The error of a step, as what it means to the user. */
const named = (work: Promise<void>, meaning: (failure: StepFailure) => EnvironmentError): Promise<void> =>
  work.catch((error: unknown) => {
    throw error instanceof StepFailure ? meaning(error) : error;
  });

const venvFailed =
  (interpreter: Interpreter) =>
  ({ lastLines: found, cause }: StepFailure) =>
    new EnvironmentError(
      'ENV_VENV_FAILED',
      `Python ${interpreter.version} (${interpreter.path}) could not make a virtual environment.`,
      {
        place: interpreter.path,
        found,
        cause,
        suggestions: [
          'Debian and Ubuntu ship the module apart: apt install python3-venv (or python3.10-venv).',
          'Check that the disk has room left, or set DOPT_HOME to another place.',
        ],
      },
    );

const installFailed =
  (lock: Lock) =>
  ({ lastLines: found, cause }: StepFailure) =>
    new EnvironmentError('ENV_INSTALL_FAILED', 'The Python packages could not be installed.', {
      place: lockPath(lock),
      found,
      cause,
      suggestions: [
        'Check the network, or the index and proxy that pip is configured with (pip config list).',
        `Check that the disk has about ${lock.megabytes.disk} MB left, or set DOPT_HOME to another place.`,
        'Use an interpreter of your own that has the packages: --env system.',
      ],
    });
