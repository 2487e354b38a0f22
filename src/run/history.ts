import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { z } from 'zod';
import { toNumber } from '../config/common.js';
import { type LlmResult, llmResultSchema } from '../config/llm-result.js';
import type { Manifest } from '../config/manifest.js';
import { type QuantParams, quantParamsSchema } from '../config/quant-params.js';
import { type RunResult, resultSchema } from '../config/result.js';
import { UserError } from '../errors.js';
import { nearPaths } from '../graph/near-paths.js';
import { readManifest } from './out-folder.js';
import { readRunFile } from './run-file.js';

/** A run folder as the `runs` commands see it; it has a result of one kind when it has finished. */
export interface RunSummary {
  folder: string;
  state: Manifest['state'];
  started: string;
  result: RunResult | null;
  /** Of a language model. */
  llm: LlmResult | null;
}

/**
 * Runs in `root` and in folders at most `depth` levels below it, newest first.
 * @throws UserError RUNS_ROOT where `root` is no folder
 */
export function findRuns(root: string, depth = 3): RunSummary[] {
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) {
    throw new UserError('RUNS_ROOT', `${root} is no folder.`, {
      place: root,
      suggestions: [...nearPaths(root), 'Name a folder that runs lie below: --root FOLDER'],
    });
  }
  const found: RunSummary[] = [];
  const visit = (folder: string, left: number): void => {
    const manifest = readManifest(folder);
    if (manifest) {
      found.push(summary(folder, manifest));
      return;
    }
    if (left === 0) return;
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (!entry.isDirectory() || entry.name.startsWith('.') || entry.name === 'node_modules') continue;
      try {
        visit(join(folder, entry.name), left - 1);
      } catch {
        // A folder that may not be read holds no run of this user.
      }
    }
  };
  visit(root, depth);
  return found.sort((a, b) => (a.started < b.started ? 1 : -1));
}

/**
 * One run.
 * @throws UserError RUN_NOT_FOUND
 */
export function readRunSummary(folder: string): RunSummary {
  const manifest = readManifest(folder);
  if (manifest) return summary(folder, manifest);
  throw new UserError('RUN_NOT_FOUND', `${folder} holds no run of dopt.`, {
    place: folder,
    suggestions: [...nearPaths(folder), 'List the runs below this folder with: dopt runs list'],
  });
}

function summary(folder: string, { state, started }: Manifest): RunSummary {
  const result = readResult(folder, resultSchema);
  const llm = result ? null : readResult(folder, llmResultSchema);
  return { folder, state, started, result, llm };
}

function readResult<T>(folder: string, schema: z.ZodType<T>): T | null {
  try {
    return schema.parse(JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8')));
  } catch {
    return null;
  }
}

/** The result of a finished run of a language model; null for any other folder. */
export const readLlmResult = (folder: string): LlmResult | null => readResult(folder, llmResultSchema);

/** @throws UserError RUN_OF_LANGUAGE_MODEL for a run that the command knows nothing to do with */
export function refuseLlmRun(folder: string): void {
  if (readLlmResult(folder) === null) return;
  throw new UserError('RUN_OF_LANGUAGE_MODEL', `${folder} holds the run of a language model.`, {
    place: folder,
    suggestions: ['Write it for others with: dopt llm export', 'Score it with: dopt llm eval'],
  });
}

/** SQNR of the first output in dB, or null where it was not measured. */
export function outputSqnr(result: RunResult | null): number | null {
  const first = result?.verification?.outputs[0];
  return first ? toNumber(first.similarity.sqnr) : null;
}

export interface RunDifference {
  /** Figures of both runs by name; null where one has none. */
  figures: { name: string; first: number | null; second: number | null }[];
  settings: { name: string; first: unknown; second: unknown }[];
  /** Activations whose scale differs, by how much (ratio, largest first). */
  scales: { tensor: string; first: number; second: number; ratio: number }[];
  onlyFirst: string[];
  onlySecond: string[];
}

/** What differs between two finished runs and their parameters. Pure. */
export function compareRuns(
  first: RunResult,
  second: RunResult,
  a: QuantParams,
  b: QuantParams,
): RunDifference {
  const scores = (result: RunResult): Map<string, number> =>
    new Map([
      ...(result.verification?.task?.scores ?? []).map(({ name, quantized }) => [name, quantized] as const),
      ...(result.verification?.outputs ?? []).map(
        ({ name, similarity }) => [`SQNR ${name}`, toNumber(similarity.sqnr)] as const,
      ),
      ['bytes', result.sizes.quantized],
      ['activations', result.quantization.activations],
      ['layers', result.quantization.weights],
      ['seconds', result.seconds],
    ]);
  const [left, right] = [scores(first), scores(second)];
  const names = [...new Set([...left.keys(), ...right.keys()])];
  const keys = Object.keys(first.settings) as (keyof RunResult['settings'])[];
  const scaleOf = (params: QuantParams): Map<string, number> =>
    new Map(
      params.tensors
        .filter(({ kind }) => kind === 'activation')
        .map(({ name, scale }) => [name, Math.max(...scale)]),
    );
  const [own, other] = [scaleOf(a), scaleOf(b)];
  return {
    figures: names.map((name) => ({ name, first: left.get(name) ?? null, second: right.get(name) ?? null })),
    settings: keys
      .map((name) => ({ name, first: first.settings[name], second: second.settings[name] }))
      .filter((entry) => JSON.stringify(entry.first) !== JSON.stringify(entry.second)),
    scales: [...own]
      .flatMap(([tensor, scale]) => {
        const theirs = other.get(tensor);
        if (theirs === undefined || theirs === scale) return [];
        return [{ tensor, first: scale, second: theirs, ratio: Math.max(scale / theirs, theirs / scale) }];
      })
      .sort((x, y) => y.ratio - x.ratio),
    onlyFirst: [...own.keys()].filter((tensor) => !other.has(tensor)),
    onlySecond: [...other.keys()].filter((tensor) => !own.has(tensor)),
  };
}

/**
 * The parameter file of a run.
 * @throws UserError RUN_FILE
 */
export const readParams = (folder: string): QuantParams =>
  readRunFile(join(folder, 'quant_params.json'), quantParamsSchema);

/** A folder as the user would type it. */
export const shown = (folder: string): string => relative(process.cwd(), folder) || '.';
