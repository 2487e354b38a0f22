import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ensureEnvironment } from '../src/bridge/environments.js';
import { findInterpreter, machinePlaces } from '../src/bridge/interpreters.js';
import { runJob } from '../src/bridge/jobs.js';
import { lockPath, minorOf, PROFILE_SPECS } from '../src/bridge/profiles.js';
import { PythonRuntime } from '../src/bridge/runtime.js';

const { locks } = PROFILE_SPECS.onnx;
const { found } = await findInterpreter(
  locks.map((lock) => lock.minor),
  machinePlaces(),
);
if (found === null) console.warn('skipped: neither Python 3.10 nor 3.11 on this machine');

// The real environment, in its usual place: made here when it is not there yet.
describe.skipIf(found === null)('the onnx profile', () => {
  it('has exactly the packages of its lock file, by call and by job alike', async () => {
    const environment = await ensureEnvironment('onnx', 'venv', { onProgress: (line) => console.log(line) });
    const lock = locks.find(({ minor }) => minor === minorOf(environment.versions.python!))!;
    const pins = [...readFileSync(lockPath(lock), 'utf8').matchAll(/^([a-z0-9-]+)==([^ ]+)/gm)];
    const locked = Object.fromEntries(pins.map(([, name, version]) => [name!, version!]));
    await using runtime = new PythonRuntime(environment);
    const probe = await runtime.invoke('probe', {});
    const { pip: _pip, setuptools: _setuptools, ...installed } = probe.packages;
    expect(installed).toEqual(locked);
    expect(environment.versions).toEqual({ python: probe.python, ...probe.packages });
    expect(await runJob(environment, 'probe', {})).toEqual(probe);
  });
});
