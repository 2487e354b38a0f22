import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Environment } from '../bridge/environments.js';
import type { Result } from '../bridge/protocol.js';
import { PythonRuntime } from '../bridge/runtime.js';
import type { DataPart, DataSource } from '../config/data.js';
import type { GraphValue } from '../config/graph.js';
import { UserError } from '../errors.js';
import type { QuantizeOptions } from './options.js';
import { pickSamples, splitSamples } from './samples.js';

/** A data source with the samples chosen from it. */
export interface ChosenSamples {
  source: DataSource;
  listing: Result<'listSamples'>;
}

export interface SampleSets {
  calibration: ChosenSamples;
  /** Kept back from calibration for decisions between settings; null when none were asked for. */
  tuning: ChosenSamples | null;
  /** What calibrates once decisions are made, samples for tuning among them; `calibration` where there are none. */
  whole: ChosenSamples;
  /** null when nothing can be kept back. */
  verification: ChosenSamples | null;
}

/**
 * Lists the data and decides which samples calibrate, which ones decide between settings and which ones score. They are
 * disjoint: by index in one source, by name and bytes between two.
 * @throws UserError TOO_FEW_SAMPLES when some are to be kept back for decisions and there are none
 */
export async function chooseSamples(
  options: QuantizeOptions,
  environment: Environment,
  inputs: readonly GraphValue[],
  signal: AbortSignal | undefined,
): Promise<SampleSets> {
  await using runtime = new PythonRuntime(environment);
  const list = (path: string, indices: number[] | null): Promise<ChosenSamples> => {
    const { preprocess, skipBad } = options;
    const parts = options.parts ? { parts: matchParts(options.parts, inputs) } : {};
    const source: DataSource = { path, preprocess, inputs: [...inputs], indices, skipBad, ...parts };
    return runtime
      .invoke('listSamples', { source }, { timeoutMs: 600_000, ...(signal ? { signal } : {}) })
      .then((listing) => ({ source, listing }));
  };
  const choose = ({ source, listing }: ChosenSamples, indices: number[]): ChosenSamples => ({
    source: { ...source, indices },
    listing,
  });

  const listed = await list(options.data, null);
  const total = listed.listing.names.length;
  const own = options.verifyData === null || options.verifyData === options.data;
  const wanted = { calibration: options.samples, tuning: options.tuningSamples ?? 0 };
  const split = splitSamples(total, wanted, options.seed, own);
  const [calibration, whole] = [choose(listed, split.calibration), choose(listed, split.whole)];
  if (wanted.tuning > 0 && split.tuning.length === 0) throw tooFew(options.data, total);
  const tuning = wanted.tuning > 0 ? choose(listed, split.tuning) : null;
  if (options.verifyData === null || own) {
    const scored = split.verification.slice(0, options.verifySamples ?? undefined);
    return { calibration, tuning, whole, verification: scored.length > 0 ? choose(listed, scored) : null };
  }
  const scored = await list(options.verifyData, null);
  // The same file under both folders must not score; files of one name may still be two.
  const seen = [...split.calibration, ...split.tuning, ...split.whole];
  const used = new Set(seen.map((index) => listed.listing.names[index]!));
  const { data, verifyData } = options;
  const isUsed = (name: string): boolean =>
    used.has(name) && !areTwoFiles(join(data, name), join(verifyData, name));
  const free = scored.listing.names.flatMap((name, index) => (isUsed(name) ? [] : [index]));
  const count = options.verifySamples ?? free.length;
  const indices = pickSamples(free.length, count, options.seed).map((index) => free[index]!);
  return { calibration, tuning, whole, verification: indices.length > 0 ? choose(scored, indices) : null };
}

/** Whether both are files, and of other bytes. What is no file, such as an array of many samples, is not told apart. */
export function areTwoFiles(first: string, second: string): boolean {
  const stats = [first, second].map((path) => statSync(path, { throwIfNoEntry: false }));
  if (!stats.every((one) => one?.isFile())) return false;
  return stats[0]!.size !== stats[1]!.size || !readFileSync(first).equals(readFileSync(second));
}

function tooFew(place: string, total: number): UserError {
  return new UserError('TOO_FEW_SAMPLES', `${place} has too few samples to decide between settings with.`, {
    place,
    expected: 'at least 8 samples: some calibrate, others decide, the rest scores',
    found: `${total}`,
    suggestions: ['Give more samples: about 100 to 200 are enough.'],
  });
}

/** Parts under the names that the inputs have in the graph: TensorFlow's `x:0` is also called `x`. */
export function matchParts(parts: readonly DataPart[], inputs: readonly GraphValue[]): DataPart[] {
  const bare = (name: string): string => name.replace(/:0$/, '');
  return parts.map((part) => {
    const exact = inputs.find(({ name }) => name === part.input);
    const found = exact ?? inputs.find(({ name }) => bare(name) === bare(part.input));
    return found ? { ...part, input: found.name } : part;
  });
}
