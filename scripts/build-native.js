#!/usr/bin/env node
// Builds native/build/lib/libdopt: `node scripts/build-native.js [--test] [--bench] [--require]`.
//
// With CMake where there is one, else with the C++ compiler alone (the same files and flags). A compiler is not
// needed to use dopt: without one this warns and exits 0, and the TypeScript core takes over; --require makes that an
// error. --test also builds and runs the C++ tests, --bench the benchmark. Needs nothing but Node.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = join(dirname(fileURLToPath(import.meta.url)), '..', 'native');
const build = join(native, 'build');
const args = process.argv.slice(2);
const wants = { test: args.includes('--test'), bench: args.includes('--bench') };
const jobs = '2';

const [major, minor] = [3, 16];

/** Runs a command with its output shown; true when it succeeded. */
function run(command, parameters, options = {}) {
  return spawnSync(command, parameters, { stdio: 'inherit', ...options }).status === 0;
}

/** The output of a command, or undefined when it cannot be run. */
function ask(command, parameters) {
  const result = spawnSync(command, parameters, { encoding: 'utf8' });
  return result.status === 0 ? result.stdout : undefined;
}

function findCmake() {
  const version = /version (\d+)\.(\d+)/.exec(ask('cmake', ['--version']) ?? '');
  const fits = version && (Number(version[1]) > major || Number(version[2]) >= minor);
  // CMake needs a build tool beside it.
  return fits && ['make', 'ninja'].some((tool) => ask(tool, ['--version']));
}

function findCompiler() {
  return [process.env.CXX, 'c++', 'g++', 'clang++'].find((name) => name && ask(name, ['--version']));
}

/** Files under a folder of native/, newest change in milliseconds. */
function newest(folders) {
  return Math.max(
    ...folders.flatMap((folder) =>
      readdirSync(join(native, folder)).map((file) => statSync(join(native, folder, file)).mtimeMs),
    ),
    ...['CMakeLists.txt', 'sources.txt', 'exports.map'].map((file) => statSync(join(native, file)).mtimeMs),
    statSync(fileURLToPath(import.meta.url)).mtimeMs,
  );
}

function withCmake() {
  const cache = join(build, 'CMakeCache.txt');
  const configured =
    existsSync(cache) && statSync(cache).mtimeMs >= statSync(join(native, 'CMakeLists.txt')).mtimeMs;
  const on = (value) => (value ? 'ON' : 'OFF');
  const options = [`-DDOPT_TESTS=${on(wants.test)}`, `-DDOPT_BENCH=${on(wants.bench)}`];
  const configure = ['-S', native, '-B', build, '-DCMAKE_BUILD_TYPE=Release', ...options];
  if (!configured || wants.test || wants.bench) {
    if (!run('cmake', configure, { stdio: ['ignore', 'ignore', 'inherit'] })) return false;
  }
  return run('cmake', ['--build', build, '-j', jobs], { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** The lists and flags of CMakeLists.txt. */
function withCompiler(compiler) {
  const triple = ask(compiler, ['-dumpmachine']) ?? '';
  const x86 = /^(x86_64|amd64)/.test(triple);
  const apple = triple.includes('apple');
  const common = ['-std=c++17', '-O3', '-fPIC', '-fvisibility=hidden', '-fvisibility-inlines-hidden'];
  common.push('-ffp-contract=off', '-pthread', `-I${join(native, 'include')}`, `-I${join(native, 'src')}`);
  if (x86) common.push('-DDOPT_HAVE_X86_SETS');
  const sets = {
    'src/kernels_avx2.cc': ['-mavx2', '-mfma'],
    'src/kernels_avx512.cc': ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mfma'],
  };
  sets['src/kernels_avx512.cc'].push('-mprefer-vector-width=512');

  const objects = join(build, 'objects');
  mkdirSync(objects, { recursive: true });
  mkdirSync(join(build, 'lib'), { recursive: true });
  const changed = (file, sources) =>
    !existsSync(file) || statSync(file).mtimeMs < Math.max(newest(['include', 'src']), newestOf(sources));
  const newestOf = (sources) => Math.max(...sources.map((source) => statSync(source).mtimeMs));

  const compiled = [];
  for (const source of readFileSync(join(native, 'sources.txt'), 'utf8').split('\n')) {
    if (!source.startsWith('src/')) continue;
    const object = join(objects, `${source.slice(4)}.o`);
    const flags = [...common, '-Wno-psabi', '-fno-math-errno', '-fno-trapping-math'];
    if (x86) flags.push(...(sets[source] ?? []));
    if (changed(object, [join(native, source)])) {
      if (!run(compiler, [...flags, '-c', join(native, source), '-o', object])) return false;
    }
    compiled.push(object);
  }
  const library = join(build, 'lib', apple ? 'libdopt.dylib' : 'libdopt.so');
  const link = ['-shared', '-pthread', ...compiled, '-o', library];
  if (!apple) {
    const script = join(native, 'exports.map');
    link.push('-static-libstdc++', '-static-libgcc', `-Wl,--version-script=${script}`, '-Wl,-z,defs');
  }
  if (changed(library, compiled) && !run(compiler, link)) return false;

  for (const [folder, wanted] of [
    ['tests', wants.test],
    ['bench', wants.bench],
  ]) {
    if (!wanted) continue;
    const sources = readdirSync(join(native, folder)).filter((file) => file.endsWith('.cc'));
    const shared = sources
      .filter((file) => !/^(test_|bench)/.test(file))
      .map((file) => join(native, folder, file));
    for (const main of sources.filter((file) => /^(test_|bench)/.test(file))) {
      const program = join(build, main.replace('.cc', ''));
      const parts = [join(native, folder, main), ...shared];
      if (!changed(program, [...parts, ...headers(folder), ...compiled])) continue;
      if (!run(compiler, [...common, ...parts, ...compiled, '-o', program])) return false;
    }
  }
  return true;
}

function headers(folder) {
  const files = readdirSync(join(native, folder)).filter((file) => file.endsWith('.h'));
  return files.map((file) => join(native, folder, file));
}

/** Every test program under every instruction set that can be asked for. */
function runTests() {
  const programs = readdirSync(join(native, 'tests')).filter((file) => /^test_.*\.cc$/.test(file));
  let failed = 0;
  for (const DOPT_SIMD of ['baseline', 'avx2', 'avx512']) {
    for (const program of programs.map((file) => file.replace('.cc', ''))) {
      const ok = run(join(build, program), [], { env: { ...process.env, DOPT_SIMD } });
      console.log(`${ok ? 'ok    ' : 'FAILED'} ${program} (${DOPT_SIMD})`);
      if (!ok) failed += 1;
    }
  }
  console.log(failed === 0 ? 'native tests: all passed' : `native tests: ${failed} failed`);
  return failed === 0;
}

/** A stamp lets a run that has nothing to do answer at once. */
const stamp = join(build, 'stamp.json');
const wanted = JSON.stringify({ ...wants, cxx: process.env.CXX ?? null });

function upToDate() {
  const library = ['libdopt.so', 'libdopt.dylib'].some((name) => existsSync(join(build, 'lib', name)));
  if (!library || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) return false;
  return statSync(stamp).mtimeMs >= newest(['include', 'src', 'tests', 'bench']);
}

function main() {
  if (!upToDate()) {
    const compiler = findCompiler();
    if (!compiler) {
      console.warn(
        'No C++ compiler found (tried $CXX, c++, g++, clang++): the native core is not built and dopt uses its',
      );
      console.warn(
        'slower TypeScript core. To build it: install a compiler (Debian: apt install g++), npm run build:native',
      );
      return args.includes('--require') || wants.test ? 1 : 0;
    }
    const cmake = findCmake();
    console.log(`building the native core with ${cmake ? 'CMake' : compiler} ...`);
    // A CMake that is broken or a cache made elsewhere must not be the end of it.
    if (!(cmake && withCmake()) && !withCompiler(compiler)) {
      console.error(`The native core could not be built with ${compiler}; its messages are above.`);
      return 1;
    }
    writeFileSync(stamp, wanted);
  }
  console.log(`native core: ${join('native', 'build', 'lib')} is up to date`);
  if (wants.test && !runTests()) return 1;
  if (wants.bench && !run(join(build, 'bench'), [])) return 1;
  return 0;
}

process.exitCode = main();
