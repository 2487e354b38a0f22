import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, extname, isAbsolute, sep } from 'node:path';

/** A file or folder of this machine that a container sees under the same path. */
export interface Mount {
  path: string;
  writable: boolean;
}

/** Parameters of the protocol that name what is written: a folder, or a file in one. */
const WRITTEN = new Set(['out', 'fakeQuantOut', 'checkpoint']);
/** Methods that write into what is an input elsewhere. */
const WRITTEN_BY: Partial<Record<string, string>> = { llmRanges: 'quantized' };
/** Parameters that are no paths, whatever they look like: names of tensors and text. */
const NO_PATHS = new Set(['layers', 'probes', 'inputs', 'outputs', 'borders', 'prompts']);
/** Files that refer to nothing beside them; others are mounted with their folder: external data, modules, labels. */
const ALONE = new Set([
  '.npz',
  '.npy',
  '.bin',
  '.safetensors',
  '.json',
  '.txt',
  '.jsonl',
  '.pth',
  '.pt',
  '.th',
  '.pb',
]);

/**
 * What a container needs of this machine to run a method: the absolute paths in its parameters, read-only, and writable
 * what the method writes. Links are followed: where they lead is mounted too, for the folders named and one level in them.
 */
export function mountsFor(method: string, params: unknown): Mount[] {
  const found = new Map<string, boolean>();
  const add = (path: string, writable: boolean): void => {
    if (path !== sep) found.set(path, writable || found.get(path) === true);
  };
  for (const { key, path } of pathsIn(params, '')) {
    if (WRITTEN.has(key) || WRITTEN_BY[method] === key) {
      const folder = isFolder(path) ? path : dirname(path);
      if (existsSync(folder)) for (const one of both(folder)) add(one, true);
    } else if (existsSync(path)) {
      for (const one of reached(path)) add(one, false);
    }
  }
  return withoutInner([...found].map(([path, writable]) => ({ path, writable })));
}

/** Absolute paths in a value, with the name of the parameter that each stands under. */
function* pathsIn(value: unknown, key: string): Generator<{ key: string; path: string }> {
  if (typeof value === 'string') {
    if (isAbsolute(value)) yield { key, path: value };
  } else if (Array.isArray(value)) {
    for (const one of value) yield* pathsIn(one, key);
  } else if (value !== null && typeof value === 'object') {
    for (const [name, one] of Object.entries(value)) {
      // A list of tensors is one of names, or of what is to be done to them; only a record of them says where they lie.
      if (!NO_PATHS.has(name) && !(name === 'tensors' && Array.isArray(one))) yield* pathsIn(one, name);
    }
  }
}

const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();

/** A path and, where it is or lies behind a link, what it really is. */
const both = (path: string): string[] => [...new Set([path, realpathSync(path)])];

/** What must be mounted so that a path can be read. */
function reached(path: string): string[] {
  if (isFolder(path)) return [...both(path), ...linkTargets(path)];
  const around = (file: string): string =>
    ALONE.has(extname(file).toLowerCase()) || dirname(file) === sep ? file : dirname(file);
  return both(path).map(around);
}

/** Where links in a folder lead to, outside of it; a link that leads nowhere is left to whoever reads it. */
function linkTargets(folder: string): string[] {
  const outside: string[] = [];
  const real = realpathSync(folder);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue;
    try {
      const target = realpathSync(`${folder}${sep}${entry.name}`);
      if (!target.startsWith(real + sep)) outside.push(isFolder(target) ? target : dirname(target));
    } catch {
      // broken
    }
  }
  return outside;
}

/** Leaves out what an outer mount shows already, with the same permission or more; outer ones first. */
function withoutInner(mounts: Mount[]): Mount[] {
  const kept: Mount[] = [];
  for (const mount of mounts.sort((a, b) => a.path.length - b.path.length || (a.path < b.path ? -1 : 1))) {
    const outer = kept.findLast(({ path }) => mount.path.startsWith(path + sep));
    if (outer === undefined || (mount.writable && !outer.writable)) kept.push(mount);
  }
  return kept;
}
