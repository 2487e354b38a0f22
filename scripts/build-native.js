#!/usr/bin/env node
// Builds native/build/lib/libdopt: `node scripts/build-native.js [--test] [--bench] [--require]`.
//
// With CMake where there is one, else with the C++ compiler alone (the same files and flags). A compiler is not
// needed to use dopt: without one this warns and exits 0, and the TypeScript core takes over; --require makes that an
// error. --test also builds and runs the C++ tests, --bench the benchmark. Needs nothing but Node.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileLibrary, files, native, run, stale } from './native-compile.js';

const build = join(native, 'build');
const args = process.argv.slice(2);
const wants = { test: args.includes('--test'), bench: args.includes('--bench') };
const jobs = '2';

/** Oldest CMake that reads CMakeLists.txt. */
const oldest = { major: 3, minor: 16 };

/** The output of a command, or undefined when it cannot be run. */
function ask(command, parameters) {
  const result = spawnSync(command, parameters, { encoding: 'utf8' });
  return result.status === 0 ? result.stdout : undefined;
}

function findCmake() {
  const version = /version (\d+)\.(\d+)/.exec(ask('cmake', ['--version']) ?? '');
  const [major, minor] = version?.slice(1).map(Number) ?? [0, 0];
  const fits = major > oldest.major || (major === oldest.major && minor >= oldest.minor);
  // CMake needs a build tool beside it.
  return fits && ['make', 'ninja'].some((tool) => ask(tool, ['--version']));
}

function findCompiler() {
  return [process.env.CXX, 'c++', 'g++', 'clang++'].find((name) => name && ask(name, ['--version']));
}

function withCmake() {
  const cache = join(build, 'CMakeCache.txt');
  // A copied checkout brings the cache of another folder along, which CMake refuses.
  if (
    existsSync(cache) &&
    !readFileSync(cache, 'utf8').includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${realpathSync(native)}\n`)
  ) {
    rmSync(cache);
  }
  const on = (value) => (value ? 'ON' : 'OFF');
  const options = [`-DDOPT_TESTS=${on(wants.test)}`, `-DDOPT_BENCH=${on(wants.bench)}`];
  const configure = ['-S', native, '-B', build, '-DCMAKE_BUILD_TYPE=Release', ...options];
  const quiet = { stdio: ['ignore', 'ignore', 'inherit'] };
  return run('cmake', configure, quiet) && run('cmake', ['--build', build, '-j', jobs], quiet);
}

/** Without CMake: the library, and the programs asked for. */
function withCompiler(compiler) {
  const triple = ask(compiler, ['-dumpmachine']) ?? '';
  const library = compileLibrary({ compiler: [compiler], triple, build });
  if (!library) return false;
  const { compiled, common } = library;
  for (const [folder, wanted] of [
    ['tests', wants.test],
    ['bench', wants.bench],
  ]) {
    if (!wanted) continue;
    const programs = files(folder, /^(test_|bench).*\.cc$/);
    const shared = files(folder, /\.cc$/).filter((file) => !programs.includes(file));
    for (const source of programs) {
      const program = join(build, basename(source, '.cc'));
      if (!stale(program, [source, ...shared, ...files(folder, /\.h$/), ...compiled])) continue;
      if (!run(compiler, [...common, source, ...shared, ...compiled, '-o', program])) return false;
    }
  }
  return true;
}

/** Every test program under every instruction set that can be asked for. */
function runTests() {
  const programs = files('tests', /^test_.*\.cc$/).map((file) => basename(file, '.cc'));
  let failed = 0;
  for (const DOPT_SIMD of ['baseline', 'avx2', 'avx512']) {
    for (const program of programs) {
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
const compilerAsked = process.env.CXX ?? null;

function upToDate() {
  const libraries = ['libdopt.so', 'libdopt.dylib'].map((name) => join(build, 'lib', name));
  const sources = ['include', 'src', 'tests', 'bench'].flatMap((folder) => files(folder));
  sources.push(
    ...['CMakeLists.txt', 'sources.txt', 'flags.json', 'exports.map'].map((name) => join(native, name)),
  );
  if (!libraries.some(existsSync) || stale(stamp, [...sources, fileURLToPath(import.meta.url)])) return false;
  const built = JSON.parse(readFileSync(stamp, 'utf8'));
  return built.cxx === compilerAsked && (built.test || !wants.test) && (built.bench || !wants.bench);
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
    writeFileSync(stamp, JSON.stringify({ ...wants, cxx: compilerAsked }));
  }
  console.log(`native core: ${join('native', 'build', 'lib')} is up to date`);
  if (wants.test && !runTests()) return 1;
  if (wants.bench && !run(join(build, 'bench'), [])) return 1;
  return 0;
}

process.exitCode = main();
