#!/usr/bin/env node
// A stand-in for `docker` where there is none: it writes down each command line, answers for images, and runs what it is asked
// to as docker would, as far as a plain process can: with nothing of its own but the three standard streams, the variables
// given, and the Python of STAND_IN_PYTHON on PATH. Folders have the same paths inside, so nothing needs to be mapped; a file
// that a job uses without its being mounted is an error.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync } from 'node:fs';
import { dirname } from 'node:path';

const { STAND_IN_LOG, STAND_IN_PYTHON, STAND_IN_EXIT } = process.env;
const args = process.argv.slice(2);
appendFileSync(STAND_IN_LOG, `${JSON.stringify(args)}\n`);

if (args[0] === '--version') console.log('Docker version 0.0.0, a stand-in');
else if (args[0] === 'version') console.log('0.0.0');
else if (args[0] === 'image') console.log(`sha256:${'ab'.repeat(32)}`);
else if (args[0] === 'run' && STAND_IN_EXIT) {
  console.error('docker: Error response from daemon: the stand-in was told to fail.');
  process.exitCode = Number(STAND_IN_EXIT);
} else if (args[0] === 'run') run(args);

function run(line) {
  const values = (flag) => line.flatMap((arg, i) => (arg === flag ? [line[i + 1]] : []));
  const mounts = values('--mount').map((mount) => /(?:^|,)source=([^,]*)/.exec(mount)[1]);
  const file = line.at(-1);
  if (!mounts.includes(dirname(file))) throw new Error(`${file} is not mounted`);
  for (const mount of mounts) if (!existsSync(mount)) throw new Error(`${mount} is not there`);
  const env = Object.fromEntries(values('--env').map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
  env.PATH = `${dirname(STAND_IN_PYTHON)}:/usr/bin:/bin`;
  const child = spawn('/bin/sh', line.slice(line.indexOf('-c')), { env, cwd: '/tmp', stdio: 'inherit' });
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    process.exitCode = signal === 'SIGKILL' ? 137 : (code ?? 1);
  });
}
