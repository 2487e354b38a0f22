import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { copyFile, link, rename } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ensureEnvironment } from '../bridge/environments.js';
import { runJob } from '../bridge/jobs.js';
import type { EnvironmentKind } from '../bridge/profiles.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import type { FileDigest } from '../config/result.js';
import { EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { writeSafetensors } from '../graph/safetensors.js';
import { diskError, makeFolder } from '../run/atomic.js';
import { fileDigest } from '../run/digest.js';
import { aimetEncodings, ENCODINGS_VERSIONS, type EncodingsVersion } from './aimet-encodings.js';
import { amctRecord } from './amct-record.js';
import { ascendDeployOnnx } from './ascend-deploy-onnx.js';
import { floatOnnx } from './float-onnx.js';
import type { Exported, ExportSource } from './formats.js';
import { json } from './json.js';
import { readNetwork } from './layers.js';
import { qdqOnnx } from './qdq-onnx.js';
import { qoperatorOnnx } from './qoperator-onnx.js';
import { openRun } from './run-files.js';

type Writer = (source: ExportSource, version: EncodingsVersion) => Exported;

const WRITERS: Record<string, Writer> = {
  'float-onnx': floatOnnx,
  'qdq-onnx': qdqOnnx,
  'qoperator-onnx': qoperatorOnnx,
  'amct-record': amctRecord,
  'ascend-deploy-onnx': ascendDeployOnnx,
  'aimet-encodings': aimetEncodings,
  json,
};

/** Names of the formats that a run can be exported to. */
export const EXPORT_FORMATS: readonly string[] = Object.keys(WRITERS);

export interface ExportOptions {
  /** Folder of a finished `dopt quantize`. */
  run: string;
  /** One of EXPORT_FORMATS. */
  format: string;
  /** File to write; must not exist. */
  out: string;
  /** Where Python comes from; used by the ONNX formats that are edited. */
  environment: EnvironmentKind;
  /** Of aimet-encodings; default 1.0.0. */
  encodingsVersion?: string;
  progress?: Progress;
  signal?: AbortSignal;
}

export interface ExportResult {
  format: string;
  run: string;
  /** The file, and its external data where it does not fit into one. */
  files: FileDigest[];
  /** What the format cannot carry, one sentence each. */
  warnings: string[];
}

/**
 * Writes the result of a run in another format, whole or not at all and never over a file that exists.
 *
 * Rejects with UserError EXPORT_FORMAT_UNKNOWN, EXPORT_VERSION_UNKNOWN, EXPORT_EXISTS, EXPORT_PER_CHANNEL and those of
 * openRun; EnvironmentError DISK_WRITE; what the Python method `rewrite` rejects with.
 */
export async function exportRun(options: ExportOptions): Promise<ExportResult> {
  const { progress = silentProgress } = options;
  const writer = writerOf(options.format);
  const version = encodingsVersion(options);
  const out = resolve(options.out);
  refuseExisting(out);
  const run = await openRun(options.run);
  const exported = writer({ run, network: readNetwork(run) }, version);
  for (const warning of exported.warnings) progress.warn(warning);
  const files = await write(exported, out, options, progress);
  return { format: options.format, run: run.folder, files, warnings: exported.warnings };
}

function writerOf(format: string): Writer {
  if (Object.hasOwn(WRITERS, format)) return WRITERS[format]!;
  throw unknown(
    'EXPORT_FORMAT_UNKNOWN',
    `dopt knows no format "${format}" to export to.`,
    format,
    EXPORT_FORMATS,
  );
}

function encodingsVersion({ format, encodingsVersion: version }: ExportOptions): EncodingsVersion {
  if (version === undefined) return '1.0.0';
  if (format !== 'aimet-encodings') {
    throw new UserError('USAGE', `--encodings-version is for --to aimet-encodings, not for ${format}.`, {
      exitCode: EXIT.usage,
    });
  }
  const known = ENCODINGS_VERSIONS.find((one) => one === version);
  if (known) return known;
  const message = `dopt cannot write version "${version}" of AIMET's encodings.`;
  throw unknown('EXPORT_VERSION_UNKNOWN', message, version, ENCODINGS_VERSIONS);
}

function unknown(code: string, message: string, found: string, known: readonly string[]): UserError {
  const near = nearMatches(found, known);
  return new UserError(code, message, {
    exitCode: EXIT.usage,
    expected: known.join(', '),
    suggestions: near.length > 0 ? [`Did you mean ${near.join(' or ')}?`] : [],
  });
}

function refuseExisting(path: string): void {
  if (!existsSync(path)) return;
  throw new UserError('EXPORT_EXISTS', `${path} exists already and is not overwritten.`, {
    place: path,
    suggestions: ['Give another file: --out FILE', 'Or remove it first.'],
  });
}

/** Makes the files in a folder beside `out`, then gives them their names. */
async function write(
  exported: Exported,
  out: string,
  options: ExportOptions,
  progress: Progress,
): Promise<FileDigest[]> {
  let folder: string | undefined;
  try {
    makeFolder(dirname(out));
    folder = mkdtempSync(join(dirname(out), '.dopt-export-'));
    const made = join(folder, basename(out));
    let paths = [made];
    if (exported.kind === 'text') writeFileSync(made, exported.text, { flush: true });
    else if (exported.kind === 'copy') await copyFile(exported.from, made);
    else paths = await carryOut(exported, folder, made, options, progress);
    // The model last: with it, all is there.
    const files: FileDigest[] = [];
    for (const path of [...paths].reverse()) {
      const place = join(dirname(out), basename(path));
      await giveName(path, place);
      files.unshift(await fileDigest(place));
    }
    return files;
  } catch (error) {
    throw diskError(error, out);
  } finally {
    if (folder) rmSync(folder, { recursive: true, force: true });
  }
}

/** Lets Python carry out the edits; returns the model and its external data, if any. */
async function carryOut(
  { model, edits, check }: Extract<Exported, { kind: 'rewrite' }>,
  folder: string,
  out: string,
  { environment: kind, signal }: ExportOptions,
  progress: Progress,
): Promise<string[]> {
  const environment = await ensureEnvironment('onnx', kind, { onProgress: (line) => progress.note(line) });
  const [list, tensors] = [join(folder, 'rewrite.json'), join(folder, 'parameters.safetensors')];
  const rewrite = edits.done();
  writeFileSync(list, JSON.stringify(rewrite));
  writeSafetensors(tensors, edits.parameters);
  const shown = progress.stage('write model');
  const { files } = await runJob(
    environment,
    'rewrite',
    {
      model,
      rewrite: list,
      parameters: tensors,
      out,
      externalDataAbove: null,
      check,
    },
    signal ? { signal } : {},
  );
  shown.done();
  return files.map(({ path }) => path);
}

/** A hard link fails where the name is taken, a rename does not; not every file system has hard links. */
async function giveName(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    refuseExisting(to);
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw error;
    await rename(from, to);
  }
}
