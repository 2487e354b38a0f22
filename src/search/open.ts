import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type Environment, ensureEnvironment } from '../bridge/environments.js';
import { requireDriver, requireGpu } from '../bridge/gpu.js';
import { JobSession } from '../bridge/job-session.js';
import type { EnvironmentKind, TorchProfile } from '../bridge/profiles.js';
import { progressJob } from '../bridge/progress-job.js';
import type { Progress } from '../cli/progress.js';
import { DEFAULT_FILTERS, DEFAULT_STRIDES, readScenario, type Scenario } from '../config/scenario.js';
import type { Graph } from '../graph/graph.js';
import { CostModel } from '../target/cost-model.js';
import { networkOf } from '../target/network.js';
import { loadTarget } from '../target/target-files.js';
import { Costs, type Frame, type Limit, problemOf } from './network/costs.js';
import type { Skeleton } from './network/layers.js';
import { channelsFirst, gpusOf } from './run-params.js';
import type { Problem } from './strategies/strategy.js';

export interface OpenOptions {
  /** scen.yaml; user_module.py lies beside it. */
  scenario: string;
  /** Device of limits that name none. */
  target: string;
  /** Folder for the journal and what else a search keeps. */
  work: string;
  profile: TorchProfile;
  environment: EnvironmentKind;
  threads: number;
  /** Indices of GPUs in the place of those that the scenario names, none for the processor; null for the scenario's. */
  gpus: number[] | null;
  progress: Progress;
  signal: AbortSignal;
}

/** A scenario with all that follows from it before anything is trained. */
export interface OpenSearch {
  scenario: Scenario;
  folder: string;
  skeleton: Skeleton;
  limits: Limit[];
  costs: Costs;
  problem: Problem;
  /** The Python that trains and scores. */
  environment: Environment;
  /** A Python process that trains or scores one thing after the other, on a cluster where one is given. */
  session: (cluster?: ClusterPlace) => JobSession;
}

/** A place for a worker in a Ray cluster, and what it takes there. */
export interface ClusterPlace {
  address: string;
  cpus: number;
  gpus: number;
}

/**
 * Reads a scenario and looks at the user's fixed parts.
 *
 * Rejects with UserError SCENARIO_INVALID, TARGET_UNKNOWN, TARGET_PRECISION, and with what Python says
 * of user_module.py: NAS_USER_MODULE, NAS_NETWORK.
 */
export async function openSearch(options: OpenOptions): Promise<OpenSearch> {
  const { progress, signal } = options;
  const scenario = onDevices(await readScenario(options.scenario), options.gpus);
  for (const note of scenario.notes) progress.warn(note);
  const limits = limitsOf(scenario, options.target);
  const environment = await trainingEnvironment(scenario, options);
  const job = progressJob(environment, options.threads, progress, signal);
  const folder = dirname(resolve(options.scenario));
  mkdirSync(options.work, { recursive: true });
  const { supernet } = scenario;
  const layers = {
    filters: supernet.filters ?? [...DEFAULT_FILTERS],
    strides: supernet.strides ?? [...DEFAULT_STRIDES],
    features: supernet.feature_choose ?? [],
  };
  const { framework } = scenario;
  const params = {
    framework,
    folder,
    inputShape: supernet.input_shape,
    channelsFirst: channelsFirst(scenario),
    ...layers,
    out: resolve(options.work),
  };
  const described = await job('Look at user_module.py', 'nasDescribe', params);
  const fixed = [await graphOf(described.pre, options), await graphOf(described.post, options)];
  const skeleton: Skeleton = { channels: described.channels, ...layers, multiple: multipleFor(limits[0]!) };
  const frame: Frame = { skeleton, height: described.height, width: described.width, fixed };
  const costs = new Costs(frame, limits);
  const session = (cluster?: ClusterPlace) => {
    const server = cluster && { module: 'dopt.nas.ray_bridge', argument: JSON.stringify(cluster) };
    return new JobSession(environment, { threads: options.threads, signal }, server);
  };
  return {
    scenario,
    folder,
    skeleton,
    limits,
    costs,
    problem: problemOf(frame, costs),
    environment,
    session,
  };
}

/** The Python that trains networks of a scenario. */
export const trainingEnvironment = (
  { framework, resource }: Scenario,
  { profile, environment, progress }: Pick<OpenOptions, 'profile' | 'environment' | 'progress'>,
): Promise<Environment> =>
  ensureEnvironment(framework === 'TensorFlow' ? 'tensorflow' : profile, environment, {
    onProgress: (line) => progress.note(line),
    gpu: gpusOf(resource?.gpu_id).length > 0,
  });

/** A scenario on other devices than it names; null leaves it. */
export function onDevices(scenario: Scenario, gpus: number[] | null): Scenario {
  if (gpus === null) return scenario;
  const { gpu_id: _, ...resource } = scenario.resource ?? {};
  return { ...scenario, resource: gpus.length > 0 ? { ...resource, gpu_id: gpus.join(',') } : resource };
}

/** Rejects with EnvironmentError GPU_UNAVAILABLE where one of the GPUs of a scenario cannot be used. */
export async function requireGpus(
  { framework, resource }: Scenario,
  environment: Environment,
  signal: AbortSignal,
): Promise<void> {
  for (const index of gpusOf(resource?.gpu_id)) {
    requireDriver(index);
    await requireGpu(environment, framework === 'TensorFlow' ? 'tensorflow' : 'torch', index, signal);
  }
}

/** The scenario's constraint first, then the further ones. */
function limitsOf({ constraint, constraints }: Scenario, target: string): Limit[] {
  const first: Limit = {
    cost: constraint.constraint_type,
    target,
    precision: 'fp16',
    min: null,
    max: constraint.constraint_value,
  };
  const more = constraints.map(
    ({ cost, max, min, target: device, precision }): Limit => ({
      cost,
      target: device ?? target,
      precision: precision ?? 'fp16',
      min: min ?? null,
      max: max ?? null,
    }),
  );
  const all = [first, ...more];
  for (const limit of all) new CostModel(loadTarget(limit.target)).rates(limit.precision);
  return all;
}

/** Fewest channels that a multiple is worth having of. */
const LEAST_MULTIPLE = 8;

/** What channels fill the matrix unit of the device with, on both sides of a product. */
function multipleFor({ target, precision }: Limit): number {
  const [, inner, columns] = new CostModel(loadTarget(target)).rates(precision).tile;
  return Math.max(LEAST_MULTIPLE, inner, columns);
}

async function graphOf(model: string, { progress, signal, environment }: OpenOptions): Promise<Graph> {
  const { graph } = await networkOf({
    model,
    weights: null,
    framework: 'onnx',
    className: null,
    trustCode: false,
    profile: null,
    inputShapes: {},
    outputs: null,
    float16ToFloat32: true,
    environment,
    progress,
    signal,
  });
  return graph;
}

/** Where a search keeps its files, below the folder of results. */
export const workFolder = (out: string): string => join(out, 'log_search');
