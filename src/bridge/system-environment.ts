import { createHash } from 'node:crypto';
import { EnvironmentError } from '../errors.js';
import { childEnvironment } from './child-environment.js';
import type { Places } from './interpreters.js';
import { OutputTail } from './output-tail.js';
import { PROFILE_SPECS, type Profile } from './profiles.js';
import { notStarted, PythonFailure } from './python-errors.js';
import { PythonRuntime } from './runtime.js';
import type { Environment } from './stamps.js';

/** Imports each module and prints, as JSON, the interpreter and why a module cannot be imported. */
const CHECK = `
import importlib, json, sys
wrong = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        wrong[name] = "%s: %s" % (type(error).__name__, error)
print("DOPT" + json.dumps({"version": list(sys.version_info[:3]), "executable": sys.executable,
                           "prefix": sys.prefix, "wrong": wrong}))
`;

/**
 * The user's own interpreter: DOPT_PYTHON, else python3 on PATH. Its packages are imported once to be sure, and their
 * versions are recorded; they are not the locked ones, so results may differ from the profile's in the last digits.
 */
export async function systemEnvironment(profile: Profile, places: Places): Promise<Environment> {
  const { modules } = PROFILE_SPECS[profile];
  const command = places.named ?? 'python3';
  const from = places.named === undefined ? 'python3 on PATH' : 'DOPT_PYTHON';
  const { execa } = await import('execa');
  const result = await execa(command, ['-c', CHECK, ...Object.keys(modules)], {
    env: childEnvironment({ keepUserPaths: true, extra: { PATH: places.path.join(':') } }),
    extendEnv: false,
    stdin: 'ignore',
    reject: false,
    timeout: 120_000,
  });
  const line = result.stdout?.split('\n').find((text) => text.startsWith('DOPT'));
  if (line === undefined) {
    const tail = new OutputTail();
    tail.push(Buffer.from(result.stderr ?? ''));
    const reason = tail.lastLines(5) || (result.shortMessage ?? 'it printed no answer');
    throw notStarted(command, new PythonFailure(reason, '', tail.text()));
  }
  const answer = JSON.parse(line.slice('DOPT'.length)) as {
    version: [number, number, number];
    executable: string;
    prefix: string;
    wrong: Record<string, string>;
  };
  const version = answer.version.join('.');
  const wrong = Object.entries(answer.wrong);
  if (wrong.length > 0 || answer.version[0] !== 3 || answer.version[1] < 8) {
    throw incomplete(answer.executable, version, wrong, modules);
  }
  await using runtime = new PythonRuntime({ python: answer.executable, kind: 'system' });
  const { packages } = await runtime.invoke('probe', {});
  const versions = { python: version, ...packages };
  return {
    profile,
    kind: 'system',
    python: answer.executable,
    versions,
    digest: createHash('sha256').update(JSON.stringify(versions)).digest('hex').slice(0, 12),
    root: answer.prefix,
    how: `your own Python ${version}, ${from} (${answer.executable})`,
    interpreter: answer.executable,
    createdAt: Date.now(),
  };
}

function incomplete(
  executable: string,
  version: string,
  wrong: [string, string][],
  modules: Record<string, string>,
): EnvironmentError {
  const missing = wrong.map(([name, error]) => `  ${name}: ${error}`).join('\n');
  const packages = wrong.map(([name]) => modules[name]).join(' ');
  return new EnvironmentError(
    'ENV_SYSTEM_INCOMPLETE',
    wrong.length > 0
      ? `Python ${version} (${executable}) cannot import what is needed:\n${missing}`
      : `Python ${version} (${executable}) is too old.`,
    {
      place: executable,
      expected: `Python 3.8 or newer with ${Object.values(modules).join(', ')}`,
      suggestions: [
        ...(wrong.length > 0 ? [`${executable} -m pip install ${packages}`] : []),
        'Name another interpreter: DOPT_PYTHON=/path/to/python.',
        'Let dopt make its own environment: leave --env system out.',
      ],
    },
  );
}
