// Compiles libdopt with a compiler alone: the files of native/sources.txt with the flags of native/flags.json. Used by build-native.js where there is no
// CMake, and by prebuild.js for other machines.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const native = join(dirname(fileURLToPath(import.meta.url)), '..', 'native');

/** Runs a command with its output shown; true when it succeeded. */
export function run(command, parameters, options = {}) {
  return spawnSync(command, parameters, { stdio: 'inherit', ...options }).status === 0;
}

export const time = (file) => statSync(file).mtimeMs;

/** Files of a folder of native/ whose name matches; none where there is no such folder, as in an installed package. */
export function files(folder, pattern = /./) {
  if (!existsSync(join(native, folder))) return [];
  const names = readdirSync(join(native, folder)).filter((name) => pattern.test(name));
  return names.map((name) => join(native, folder, name));
}

/** True unless `target` is there and newer than all of `sources`. */
export function stale(target, sources) {
  return !existsSync(target) || time(target) < Math.max(...sources.map(time));
}

/**
 * Compiles the library into `build`/lib.
 * @param compiler command, with what stands before the flags: `['g++']`
 * @param triple what it compiles for, as -dumpmachine says it
 * @param strip whether names that nobody outside needs are left out
 * @returns the object files, with the flags that they were compiled with; undefined when a step failed
 */
export function compileLibrary({ compiler: [command, ...before], triple, build, strip = false }) {
  const x86 = /^(x86_64|amd64)/.test(triple);
  const apple = triple.includes('apple');
  const flags = JSON.parse(readFileSync(join(native, 'flags.json'), 'utf8'));
  const common = [...flags.compile, ...(x86 ? flags.x86 : [])];
  common.push(`-I${join(native, 'include')}`, `-I${join(native, 'src')}`);

  const objects = join(build, 'objects');
  mkdirSync(objects, { recursive: true });
  mkdirSync(join(build, 'lib'), { recursive: true });
  const headers = [...files('include'), ...files('src', /\.(h|inc)$/), join(native, 'flags.json')];

  const compiled = [];
  for (const source of readFileSync(join(native, 'sources.txt'), 'utf8').split('\n')) {
    if (!source.startsWith('src/')) continue;
    const object = join(objects, `${source.slice(4)}.o`);
    const own = [...common, ...flags.library, ...(x86 ? (flags.sets[source] ?? []) : [])];
    if (stale(object, [join(native, source), ...headers])) {
      if (!run(command, [...before, ...own, '-c', join(native, source), '-o', object])) return undefined;
    }
    compiled.push(object);
  }
  const library = join(build, 'lib', apple ? 'libdopt.dylib' : 'libdopt.so');
  const link = [...flags.link, ...compiled, '-o', library];
  if (!apple) link.push(...flags.linkElf, `-Wl,--version-script=${join(native, 'exports.map')}`);
  if (strip) link.push('-s');
  if (stale(library, compiled) && !run(command, [...before, ...link])) return undefined;
  return { compiled, common };
}
