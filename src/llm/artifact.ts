import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type LlmArtifact, llmArtifactSchema } from '../config/llm-artifact.js';
import { UserError } from '../errors.js';
import type { StageContext } from '../quantize/context.js';
import { digestOf } from '../run/digest.js';

/** Folders of a run that hold quantized models: as solved, and after distillation. */
export const QUANTIZED = 'quantized';
export const DISTILLED = 'distilled';

const indexFile = (folder: string): string => join(folder, 'index.json');

/**
 * The index of a quantized model.
 * @throws UserError LLM_NOT_QUANTIZED for a folder that holds none
 */
export function readArtifact(folder: string): LlmArtifact {
  const file = indexFile(folder);
  let cause: unknown;
  if (existsSync(file)) {
    try {
      return llmArtifactSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
    } catch (error) {
      cause = error;
    }
  }
  throw new UserError(
    'LLM_NOT_QUANTIZED',
    cause ? `${file} is no index of a quantized model.` : `${folder} holds no quantized language model.`,
    {
      place: file,
      cause,
      suggestions: ['Give the folder of a finished run: dopt llm quantize MODEL_DIR --data TEXT --out DIR'],
    },
  );
}

/** Whether a folder was meant to hold a quantized model, whole or not. */
export const holdsArtifact = (folder: string): boolean => existsSync(indexFile(folder));

/** The quantized model that a path means: itself, or in a run folder the distilled one before the one as solved. */
export function findArtifact(path: string): string {
  const places = [path, join(path, DISTILLED), join(path, QUANTIZED)];
  return places.find(holdsArtifact) ?? path;
}

/** What a stage that made a quantized model leaves. */
export interface Made<T> {
  result: T;
  folder: string;
  /** Over its weights, and over its activations where the stage made those: what later stages know it by. */
  digest: string;
}

/** Digest over the weights of a quantized model; ranges of activations may be added to it later. */
export const weightsDigest = ({ linears, embeddings, floats, shards }: LlmArtifact): string =>
  digestOf({ linears, embeddings, floats, shards });

/**
 * A stage whose result is a quantized model in `folder`, which lies outside of the stage's own: what was finished of it
 * stays when the work ends early. A finished stage is done again when the model is not there any more as it was.
 */
export async function artifactStage<T>(
  { run }: StageContext,
  name: string,
  key: unknown,
  folder: string,
  work: () => Promise<T>,
): Promise<Made<T>> {
  const make = async (): Promise<Made<T>> => {
    const result = await work();
    return { result, folder, digest: weightsDigest(readArtifact(folder)) };
  };
  const { value } = await run.stage(name, { key }, make);
  const there = holdsArtifact(folder) ? weightsDigest(readArtifact(folder)) : null;
  if (there === value.digest) return { ...value, folder };
  return (await run.stage(name, { key, again: value.digest }, make)).value;
}
