import { extname } from 'node:path';
import { type Environment, ensureEnvironment } from '../bridge/environments.js';
import type { EnvironmentKind, Profile, TorchProfile } from '../bridge/profiles.js';
import type { Params, Result } from '../bridge/protocol.js';
import type { Progress } from '../cli/progress.js';
import type { DataSource, Preprocess } from '../config/data.js';
import type { Parity } from '../config/verification.js';
import { EXIT, UserError } from '../errors.js';
import { type StageContext, stageJob } from '../quantize/context.js';
import { pathDigest } from '../run/digest.js';
import { VERSION } from '../version.js';
import { detectFramework, type Framework } from './detect.js';

/** What says how a model comes in. */
export interface DoorOptions {
  model: string;
  framework: Framework | 'auto';
  weights: string | null;
  className: string | null;
  inputShapes: Record<string, number[]>;
  outputs: string[] | null;
  /** TensorFlow: execute Python code that the file holds. */
  trustCode: boolean;
  seed: number;
  environment: EnvironmentKind;
  /** PyTorch: the packages that run the network; null: those of PyTorch 1.11. */
  profile: TorchProfile | null;
}

type ForeignFramework = Exclude<Framework, 'onnx'>;

/** A model that came in from another framework. */
export interface Door {
  framework: ForeignFramework;
  /** The framework's own Python environment. */
  environment: Environment;
  /** The model as its framework takes it. */
  model: Omit<Params<'convert'>, 'out' | 'seed'>;
  conversion: Result<'convert'>;
  borders: Params<'runFramework'>['borders'];
  digest: string;
}

const PROFILE_OF: Record<ForeignFramework, Profile> = { tensorflow: 'tensorflow', pytorch: 'torch' };

/** Samples that the framework and the ONNX form are compared on. */
const PARITY_SAMPLES = 16;

/** A stage context whose Python is the framework's. */
export const inFramework = (
  context: StageContext,
  { environment }: Pick<Door, 'environment'>,
): StageContext => ({
  ...context,
  environment,
});

/** The framework of a model with its environment, made on first need; null for a model that is ONNX. */
export async function frameworkOf(
  options: Omit<DoorOptions, 'seed'>,
  progress: Progress,
): Promise<Pick<Door, 'framework' | 'environment' | 'model'> | null> {
  const framework = detectFramework(options, options.framework);
  if (options.profile !== null && framework !== 'pytorch') throw profileUnused(framework, options.profile);
  if (framework === 'onnx') return null;
  const profile = options.profile ?? PROFILE_OF[framework];
  const environment = await ensureEnvironment(profile, options.environment, {
    onProgress: (line) => progress.note(line),
  });
  const { model, weights, className, inputShapes, outputs, trustCode } = options;
  const asked = { framework, model, weights, className, inputShapes, outputs, trustCode };
  return { framework, environment, model: asked };
}

function profileUnused(framework: Framework, profile: TorchProfile): UserError {
  return new UserError('PROFILE_UNUSED', `--profile ${profile} is for PyTorch; this model is ${framework}.`, {
    exitCode: EXIT.usage,
    suggestions: ['Leave --profile out.'],
  });
}

/**
 * Brings a model of another framework in as ONNX; null for a model that is ONNX.
 *
 * Rejects as detectFramework and ensureEnvironment do, and with what the framework's door finds wrong
 * (python/dopt/doors): MODEL_INPUT_SHAPE, WEIGHTS_MISMATCH, PARITY_FAILED, …
 */
export async function openDoor(context: StageContext, options: DoorOptions): Promise<Door | null> {
  const found = await frameworkOf(options, context.progress);
  if (!found) return null;
  const { framework, environment, model } = found;
  const { weights, seed } = options;
  const key = {
    ...model,
    model: await pathDigest(options.model),
    name: extname(options.model),
    weights: weights && (await pathDigest(weights)),
    seed,
    version: VERSION,
    packages: environment.versions[framework === 'tensorflow' ? 'tensorflow-cpu' : 'torch'] ?? null,
  };
  const { value: conversion, digest } = await context.run.stage('convert', key, (out) =>
    stageJob(
      inFramework(context, { environment }),
      `convert from ${framework}`,
      'convert',
      { ...model, out, seed },
      ({ parity, seconds, importSeconds }) =>
        `parity ${parity.maxRelativeDifference.toExponential(1)}, ${seconds.toFixed(1)} s and ${importSeconds.toFixed(1)} s of import`,
    ),
  );
  const borders = { inputs: conversion.inputs, outputs: conversion.outputs };
  return { framework, environment, model, conversion, borders, digest };
}

/** Compares the framework with the ONNX form on a few calibration samples; rejects with PARITY_FAILED. */
export async function checkParity(
  context: StageContext,
  door: Door,
  source: DataSource,
  dataDigest: string,
): Promise<Parity> {
  const some = { ...source, indices: source.indices?.slice(0, PARITY_SAMPLES) ?? null };
  const key = { converted: door.digest, dataDigest, source: { ...some, path: '' } };
  const { value } = await context.run.stage('parity', key, () =>
    stageJob(
      inFramework(context, door),
      `compare with ${door.framework}`,
      'checkParity',
      { ...door.model, onnx: door.conversion.model, borders: door.borders, source: some },
      ({ maxRelativeDifference, samples }) =>
        `${samples} samples, parity ${maxRelativeDifference.toExponential(1)}`,
    ),
  );
  return value;
}

/** Where samples lie. */
interface DataOptions {
  data: string;
  verifyData: string | null;
  preprocess: Preprocess;
  skipBad: boolean;
}

/** The options with the data that the network itself takes: features, where a front end makes them of the user's files. */
export async function withFeatures<T extends DataOptions>(
  context: StageContext,
  door: Door | null,
  options: T,
): Promise<T> {
  const frontEnd = door?.conversion.frontEnd;
  if (!door || !frontEnd) return options;
  const { data, verifyData } = options;
  const features = await featuresOf(context, door, frontEnd, options, data, 'calibration');
  if (verifyData === null || verifyData === data) return { ...options, data: features };
  const scored = await featuresOf(context, door, frontEnd, options, verifyData, 'verification');
  return { ...options, data: features, verifyData: scored };
}

/** A folder with the features of the user's files, at the same relative paths. */
async function featuresOf(
  context: StageContext,
  door: Door,
  frontEnd: NonNullable<Door['conversion']['frontEnd']>,
  { preprocess, skipBad }: DataOptions,
  data: string,
  title: string,
): Promise<string> {
  const { takes, input, features } = frontEnd;
  const stage = `features-${title}`;
  const key = { converted: door.digest, data: await pathDigest(data), preprocess, skipBad };
  const { value } = await context.run.stage(stage, key, (out) =>
    stageJob(
      inFramework(context, door),
      `features (${title})`,
      'computeFeatures',
      { ...door.model, frontEnd: { takes, input, features }, data, preprocess, skipBad, out },
      ({ names }) => `${names.length} files`,
    ),
  );
  if (value.names.length === 0) {
    throw new UserError(
      'DATA_EMPTY_FOLDER',
      `${data} has no ${takes === 'wav' ? 'wav files' : 'samples'} that ${frontEnd.description} could read.`,
      { place: data, suggestions: ['Check the path and the reasons in the log of the run.'] },
    );
  }
  return context.run.stageFolder(stage);
}
