import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { EnvironmentKind, TorchProfile } from '../bridge/profiles.js';
import { progressJob } from '../bridge/progress-job.js';
import type { LlmFormat } from '../bridge/protocol-llm.js';
import { silentProgress } from '../cli/progress.js';
import type { FileDigest } from '../config/result.js';
import { EXIT, UserError } from '../errors.js';
import { findArtifact, readArtifact } from './artifact.js';
import { llmEnvironment } from './environment.js';
import type { LlmContext } from './in-run.js';
import type { ExportSettings } from './stages.js';

export interface LlmExportOptions {
  /** Run folder, or the folder of a quantized model. */
  from: string;
  format: LlmFormat;
  /** Folder to write; must not exist. */
  out: string;
  settings: ExportSettings;
  environment: EnvironmentKind;
  profile: TorchProfile | null;
  threads: number;
}

export interface LlmExportResult {
  format: LlmFormat;
  quantized: string;
  files: FileDigest[];
  layers: number;
  float: { name: string; reason: string }[];
  notes: string[];
}

/**
 * Writes a quantized language model in another format, whole or not at all.
 *
 * Rejects with UserError LLM_NOT_QUANTIZED, EXPORT_EXISTS, USAGE, and those of the writers in python/dopt/llm/export.
 */
export async function exportLlm(
  options: LlmExportOptions,
  { progress = silentProgress, signal }: LlmContext = {},
): Promise<LlmExportResult> {
  const { format, settings } = options;
  const out = resolve(options.out);
  refuseSettings(format, settings);
  const quantized = findArtifact(resolve(options.from));
  readArtifact(quantized);
  if (existsSync(out)) {
    throw new UserError('EXPORT_EXISTS', `${out} exists already and is not overwritten.`, {
      place: out,
      suggestions: ['Give another folder: --out DIR', 'Or remove it first.'],
    });
  }
  const environment = await llmEnvironment(options.profile, options.environment, (line) =>
    progress.note(line),
  );
  const run = progressJob(environment, options.threads, progress, signal);
  const done = await run(`export ${format}`, 'llmExport', {
    artifact: quantized,
    format,
    out,
    options: settings,
  });
  for (const { name, reason } of done.float) progress.warn(`${name} stays float: ${reason}`);
  for (const note of done.notes) progress.warn(note);
  return { format, quantized, ...done };
}

/** Settings that only one format knows. */
const OWNERS: [keyof ExportSettings, LlmFormat, string][] = [
  ['encodingsVersion', 'aimet-encodings', '--encodings-version'],
  ['quantParam2', 'original', '--quant-param-2'],
  ['lmHeadSize', 'original', '--lm-head-size'],
  ['stages', 'original', '--stage'],
];

function refuseSettings(format: LlmFormat, settings: ExportSettings): void {
  for (const [key, owner, flag] of OWNERS) {
    if (format === owner || !settings[key]) continue;
    throw new UserError('USAGE', `${flag} is for --to ${owner}, not for ${format}.`, {
      exitCode: EXIT.usage,
    });
  }
}
