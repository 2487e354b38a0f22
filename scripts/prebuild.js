#!/usr/bin/env node
// Builds native/prebuilt/linux-{x64,arm64}/libdopt.so, which the package carries: `npm run prebuild:native`, and before `npm pack`.
//
// With Zig's C++ compiler from PyPI, kept in ~/.cache/dopt/zig: it compiles for either processor on any machine, and against the
// oldest C library that Node 20 runs with (glibc 2.28). Where it cannot be had this warns and exits 0, and the package compiles the
// core when it is installed; --require makes that an error.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { compileLibrary, native } from './native-compile.js';

const ZIG = 'ziglang==0.17.1';
const GLIBC = '2.28';
const TARGETS = { x64: 'x86_64', arm64: 'aarch64' };

const folder = join(process.env.DOPT_HOME ?? join(homedir(), '.cache', 'dopt'), 'zig');
const runs = (command, args) => spawnSync(command, args, { encoding: 'utf8' }).status === 0;

/** Path of Zig, fetched with pip where it is not there; undefined where that fails. */
function findZig() {
  const zig = join(folder, 'ziglang', 'zig');
  if (existsSync(zig) && runs(zig, ['version'])) return zig;
  const python = ['python3', 'python'].find((name) => runs(name, ['-m', 'pip', '--version']));
  if (!python) return undefined;
  console.log(`fetching ${ZIG} into ${folder} ...`);
  const quiet = ['--quiet', '--disable-pip-version-check', '--no-input', '--no-deps', '--upgrade'];
  const pip = ['-m', 'pip', 'install', ...quiet, '--only-binary', ':all:', '--target', folder, ZIG];
  return spawnSync(python, pip, { stdio: 'inherit' }).status === 0 && existsSync(zig) ? zig : undefined;
}

function main() {
  const zig = findZig();
  if (!zig) {
    console.warn(
      'Zig could not be had: the package carries no native core and compiles it when it is installed.',
    );
    return process.argv.includes('--require') ? 1 : 0;
  }
  for (const [arch, machine] of Object.entries(TARGETS)) {
    const triple = `${machine}-linux-gnu.${GLIBC}`;
    const build = join(native, 'build', 'prebuilt', arch);
    console.log(`building the native core for ${triple} ...`);
    const compiler = [zig, 'c++', '-target', triple];
    if (!compileLibrary({ compiler, triple, build, strip: true })) return 1;
    const out = join(native, 'prebuilt', `linux-${arch}`);
    mkdirSync(out, { recursive: true });
    copyFileSync(join(build, 'lib', 'libdopt.so'), join(out, 'libdopt.so'));
  }
  return 0;
}

process.exitCode = main();
