import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Manifest } from '../config/manifest.js';
import { SafetensorsFile } from '../graph/safetensors.js';
import { fileDigest } from './digest.js';

/** What differs between a run and its repetition. */
export interface ReplayDifference {
  /** Whether every result has the bytes it had. */
  equal: boolean;
  /** Results by name; null where one of the runs has none. */
  files: { name: string; first: string | null; second: string | null; equal: boolean }[];
  /** What the runs read: digests that are no longer the same. */
  inputs: { name: string; first: string; second: string }[];
  /** Programs of other versions. */
  versions: { name: string; first: string | null; second: string | null }[];
  /** The first stage whose files differ, with the tensors or the place in each. */
  stage: { name: string; files: { name: string; where: string }[] } | null;
}

/** Says when it was made and how long it took, so it is another file each time. */
const DATED = /^report\.html$/;

/** Compares two finished runs by the digests in their manifests, and their stages where results differ. */
export async function differenceOf(
  first: { folder: string; manifest: Manifest },
  second: { folder: string; manifest: Manifest },
): Promise<ReplayDifference> {
  const [a, b] = [first.manifest.files, second.manifest.files];
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => !DATED.test(name));
  const files = names.map((name) => {
    const [one, other] = [a[name]?.sha256 ?? null, b[name]?.sha256 ?? null];
    return { name, first: one, second: other, equal: one === other };
  });
  const equal = files.every((file) => file.equal);
  return {
    equal,
    files,
    inputs: changed(digestsIn(first.manifest.details), digestsIn(second.manifest.details)).flatMap((entry) =>
      entry.first !== null && entry.second !== null
        ? [{ ...entry, first: entry.first, second: entry.second }]
        : [],
    ),
    versions: changed(versionsIn(first.manifest), versionsIn(second.manifest)),
    stage: equal ? null : await firstStage(first.folder, second.folder),
  };
}

/** Entries of two records that are not the same. */
function changed(a: Record<string, string>, b: Record<string, string>) {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names
    .map((name) => ({ name, first: a[name] ?? null, second: b[name] ?? null }))
    .filter(({ first, second }) => first !== second);
}

const versionsIn = ({ dopt, details }: Manifest): Record<string, string> => ({
  dopt,
  ...(details.versions as Record<string, string> | undefined),
});

/** Every `sha256` of what was read, by the way to it: `source`, `data.calibration`. */
function digestsIn(details: Record<string, unknown>): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (value: unknown, way: string[]): void => {
    if (value === null || typeof value !== 'object') return;
    for (const [name, inner] of Object.entries(value)) {
      if (name === 'sha256' && typeof inner === 'string') found[way.join('.')] = inner;
      else visit(inner, [...way, name]);
    }
  };
  for (const name of ['source', 'data']) visit(details[name], [name]);
  return found;
}

/** The first stage, in the order in which they ran, that left other files. */
async function firstStage(first: string, second: string): Promise<ReplayDifference['stage']> {
  for (const name of stagesOf(first)) {
    const [a, b] = [join(first, 'stages', name), join(second, 'stages', name)];
    const files: { name: string; where: string }[] = [];
    for (const file of filesIn(a)) {
      const where = await whereDifferent(join(a, file), join(b, file));
      if (where !== null) files.push({ name: file, where });
    }
    if (files.length > 0) return { name, files };
  }
  return null;
}

/** Stages with a record, by the time in it. */
function stagesOf(folder: string): string[] {
  const order = readFileSync(join(folder, 'events.ndjson'), 'utf8')
    .split('\n')
    .flatMap((line) => /"type":"stage-done","stage":"([^"]+)"/.exec(line)?.[1] ?? []);
  return [...new Set(order)].filter((name) => existsSync(join(folder, 'stages', name)));
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'stage.json' && !entry.name.endsWith('.log'))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();

/** Where two files differ, in words; null where they are equal. */
async function whereDifferent(a: string, b: string): Promise<string | null> {
  if (!existsSync(b)) return 'only the first run has it';
  if ((await fileDigest(a)).sha256 === (await fileDigest(b)).sha256) return null;
  if (a.endsWith('.safetensors')) return differentTensors(SafetensorsFile.open(a), SafetensorsFile.open(b));
  if (a.endsWith('.json')) return differentJson(readFileSync(a), readFileSync(b));
  return differentByte(readFileSync(a), readFileSync(b));
}

/** By their values, or by their bytes where one of them is damaged. */
function differentJson(a: Buffer, b: Buffer): string {
  let values: [unknown, unknown];
  try {
    values = [JSON.parse(a.toString()), JSON.parse(b.toString())];
  } catch {
    return differentByte(a, b);
  }
  return differentValue(...values, '$') ?? 'spacing only';
}

/** Tensors named in a message at most. */
const NAMED = 5;

function differentTensors(a: SafetensorsFile, b: SafetensorsFile): string {
  const different = a.names.filter((name) => !sameTensor(a, b, name));
  different.push(...b.names.filter((name) => !a.has(name)));
  if (different.length === 0) return 'the order or the names of its header only';
  const more = different.length > NAMED ? ` and ${different.length - NAMED} more` : '';
  return `tensors ${different.slice(0, NAMED).join(', ')}${more} of ${a.names.length}`;
}

function sameTensor(a: SafetensorsFile, b: SafetensorsFile, name: string): boolean {
  const [one, other] = [a.get(name), b.get(name)];
  if (!one || !other || one.shape.join() !== other.shape.join()) return false;
  const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
    Buffer.from(buffer, byteOffset, byteLength);
  return bytes(one.data).equals(bytes(other.data));
}

/** The first place where two JSON values differ, as a path with both values; null where they are equal. */
export function differentValue(a: unknown, b: unknown, path: string): string | null {
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') {
    return Object.is(a, b) ? null : `${path}: ${short(a)} against ${short(b)}`;
  }
  const [left, right] = [a, b] as Record<string, unknown>[];
  for (const key of new Set([...Object.keys(left!), ...Object.keys(right!)])) {
    const step = Array.isArray(a) ? `[${key}]` : `.${key}`;
    const found = differentValue(left![key], right![key], path + step);
    if (found !== null) return found;
  }
  return null;
}

const short = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 60);

function differentByte(a: Buffer, b: Buffer): string {
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a[at] === b[at]) at += 1;
  return a.length === b.length
    ? `byte ${at} of ${a.length}`
    : `byte ${at}; ${a.length} bytes against ${b.length}`;
}
