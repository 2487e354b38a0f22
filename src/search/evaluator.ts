import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { JobSession } from '../bridge/job-session.js';
import type { ReportEvent } from '../bridge/jobs.js';
import type { Params } from '../bridge/protocol.js';
import type { Progress } from '../cli/progress.js';
import { ALONE_EPOCHS, type Scenario } from '../config/scenario.js';
import { digestOf } from '../run/digest.js';
import { type Halving, halvingOf } from './algorithms/halving.js';
import type { Evaluator, Stage, Training, Tune } from './evaluation.js';
import { deckOf } from './network/deck.js';
import { guideLayers, largestLayers, layersOf } from './network/layers.js';
import type { OpenSearch } from './open.js';
import { gpusOf, type RunParams, runParams } from './run-params.js';
import { type Genome, genomeKey } from './space.js';

/** Files of shared weights. */
export const CHECKPOINTS = { PyTorch: 'supernet.pth', TensorFlow: 'supernet.npz' };

/** Folder of the weights of networks that are trained alone. */
const NETWORKS = 'networks';

/** Takes all weights, and what shared ones were taught by, out of a folder. */
export function removeWeights(work: string): void {
  for (const name of readdirSync(work)) if (name.startsWith('supernet.')) rmSync(join(work, name));
  rmSync(join(work, NETWORKS), { recursive: true, force: true });
}

/** Batches that a candidate's normalizations are set by. */
const CALIBRATION_BATCHES = 8;

/** What is done where a scenario does not say. */
const TUNE = { batches: 160, seeds: 4 };

/** How each network of a scenario goes on before it is scored; for no batch where it is trained alone. */
export function tuneOf({ evaluator: { kind, tune = TUNE.batches, seeds = TUNE.seeds } }: Scenario): Tune {
  return kind === 'supernet' && tune > 0
    ? { batches: tune, seeds, loss: 'validation' }
    : { batches: 0, seeds: 1 };
}

/** How a scenario trains the best of its networks on; null where all are trained alike. */
export function halvingIn({ evaluator }: Scenario): Halving | null {
  const { halving, epochs = ALONE_EPOCHS } = evaluator;
  return halving ? halvingOf({ ...halving, most: epochs }) : null;
}

/** An evaluator whose processes have to be ended. */
export interface PythonEvaluator extends Evaluator {
  /** The first of them, for what else is to be done in Python. */
  session: JobSession;
  close: () => Promise<void>;
}

/** How many networks are scored at a time, and where. */
export interface EvaluatorOptions {
  threads: number;
  /** Processes where the scenario names no GPU, and on a cluster. */
  workers: number;
  /** Address of a Ray cluster whose machines train and score; null, as without it, for this one. */
  cluster?: string | null;
  progress: Progress;
}

/** A worker: the index of its GPU, null for the processor, and its process. */
interface Place {
  gpu: number | null;
  session: JobSession;
}

/**
 * Evaluates networks in Python: by weights that all of them share, which are trained first, or each trained alone. Each GPU
 * of the scenario has a process of its own; without one there are `workers` of them. They keep what they have loaded. On a
 * cluster there are `workers` too, each with a GPU where the scenario names any, which Ray picks.
 *
 * Rejects as jobs do, with NAS_LOSS, NAS_DATASET, NAS_USER_MODULE, and with RAY_MISSING, RAY_CLUSTER, RAY_FULL, RAY_NODE.
 */
export async function pythonEvaluator(
  open: OpenSearch,
  work: string,
  { threads, workers, cluster = null, progress }: EvaluatorOptions,
): Promise<PythonEvaluator> {
  const { scenario, skeleton } = open;
  const places = cluster === null ? placesHere(open, workers) : placesOn(cluster, open, { threads, workers });
  const close = async (): Promise<void> => {
    await Promise.all(places.map(({ session }) => session.close()));
  };
  const run = { ...runParams({ ...open, work }, threads), largest: largestLayers(skeleton) };
  const shared = scenario.evaluator.kind === 'supernet';
  const weights = new KeptWeights(work, run, scenario);
  const checkpoint = shared ? join(work, CHECKPOINTS[scenario.framework]) : null;
  const tune = tuneOf(scenario);
  const epochs = shared ? run.epochs : (scenario.evaluator.epochs ?? ALONE_EPOCHS);
  if (checkpoint !== null)
    try {
      await trainShared(open, places[0]!, { ...run, checkpoint }, cluster !== null, progress);
    } catch (error) {
      await close();
      throw error;
    }
  return {
    workers: places.length,
    session: places[0]!.session,
    close,
    retain: (stages) => weights.retain(stages),
    score: async (genome, worker, training) => {
      const { gpu, session } = places[worker]!;
      const key = genomeKey(genome);
      const parts = shared ? [] : weights.parts(key, training ?? null, epochs);
      const parent = training?.parent ? weights.of(training.parent) : null;
      const begins = parent && { file: parent.file, layers: layersOf(skeleton, parent.genome) };
      const networks = [{ key, layers: layersOf(skeleton, genome), seed: run.seed, parts, parent: begins }];
      const params = {
        ...run,
        gpu,
        epochs,
        checkpoint,
        calibrationBatches: CALIBRATION_BATCHES,
        tuneBatches: tune.batches,
        tuneSeeds: tune.seeds,
        networks,
      };
      const { results } = await session.run('nasScore', params, (event) => passOn(event, progress));
      return results[0]!;
    },
  };
}

/** Files of the weights of networks that are trained alone, by network and epochs, below a name that says how. */
class KeptWeights {
  private readonly folder: string;
  private readonly suffix: string;
  private readonly halving: Halving | null;

  constructor(work: string, run: RunParams, scenario: Scenario) {
    const { threads: _, gpu: __, log: ___, ...decides } = run;
    const { inherit } = scenario.evaluator;
    this.halving = halvingIn(scenario);
    this.folder = join(work, NETWORKS, digestOf({ decides, inherit, halving: this.halving }).slice(0, 12));
    this.suffix = CHECKPOINTS[scenario.framework].slice('supernet'.length);
    if (this.halving) mkdirSync(this.folder, { recursive: true });
  }

  /** The parts that a training consists of; all in one where networks are trained alike. */
  parts(
    key: string,
    training: Training | null,
    epochs: number,
  ): Params<'nasScore'>['networks'][number]['parts'] {
    const { halving } = this;
    const most = training?.epochs ?? null;
    if (!halving || most === null) return [{ epochs, file: null }];
    return halving.rungs
      .filter((rung) => rung <= most)
      .map((rung, at) => ({
        epochs: rung - (halving.rungs[at - 1] ?? 0),
        file: this.file({ key, epochs: rung }),
      }));
  }

  /** A network's weights; null where they are not there. */
  of({ genome, epochs }: { genome: Genome; epochs: number }): { genome: Genome; file: string } | null {
    const file = this.file({ key: genomeKey(genome), epochs });
    return existsSync(file) ? { genome, file } : null;
  }

  retain(stages: readonly Stage[]): void {
    const kept = new Set(stages.map((stage) => this.file(stage)));
    for (const name of readdirSync(this.folder)) {
      // What is being written is called so until it is whole.
      const file = join(this.folder, name.replace(/\.partial$/, ''));
      if (!kept.has(file)) rmSync(join(this.folder, name), { force: true });
    }
  }

  private file({ key, epochs }: Stage): string {
    return join(this.folder, `${digestOf(key).slice(0, 16)}-${epochs}${this.suffix}`);
  }
}

function placesHere({ scenario, session }: OpenSearch, workers: number): Place[] {
  const gpus = gpusOf(scenario.resource?.gpu_id);
  const all = gpus.length > 0 ? gpus : new Array<null>(workers).fill(null);
  return all.map((gpu) => ({ gpu, session: session() }));
}

/** Ray shows each worker its own GPU alone, whose index is 0 there. */
function placesOn(
  address: string,
  { scenario, session }: OpenSearch,
  { threads, workers }: { threads: number; workers: number },
): Place[] {
  const gpu = scenario.resource?.gpu_id ? 0 : null;
  const place = { address, cpus: Math.max(1, threads), gpus: gpu === null ? 0 : 1 };
  return Array.from({ length: workers }, () => ({ gpu, session: session(place) }));
}

/** What trains shared weights together: all GPUs of a scenario, each once; `gpu` alone without any, and `away` on a cluster. */
export function trainingPlaces(
  { resource }: Pick<Scenario, 'resource'>,
  gpu: number | null,
  away: boolean,
): Params<'nasTrain'>['places'] {
  const gpus = away ? [] : gpusOf(resource?.gpu_id);
  return gpus.length > 0 ? [...new Set(gpus)] : [gpu];
}

/** Trains the weights that all candidates share, from where a checkpoint says it is. */
async function trainShared(
  { scenario, folder, skeleton, problem, session: newSession }: OpenSearch,
  { gpu, session }: Place,
  run: RunParams & Pick<Params<'nasTrain'>, 'checkpoint' | 'largest'>,
  away: boolean,
  progress: Progress,
): Promise<void> {
  const deck = deckOf(problem, skeleton, run.seed).map((genome) => layersOf(skeleton, genome));
  const stage = progress.stage('Train shared weights');
  const { framework, dataset } = scenario;
  const params = {
    ...run,
    gpu,
    deck,
    guide: guideLayers(skeleton),
    preTrainFolder: dataset.pre_train_dir ? resolve(folder, dataset.pre_train_dir) : null,
    places: trainingPlaces(scenario, gpu, away),
  };
  // TensorFlow trains on all devices in one process, which keeps their memory for as long as it lives.
  const own = framework === 'TensorFlow' && params.places.length > 1 ? newSession() : null;
  try {
    await (own ?? session).run('nasTrain', params, (event) => {
      if (event.type === 'progress') stage.update(event.done, event.total, event.message);
      else passOn(event, progress);
    });
  } finally {
    await own?.close();
  }
  stage.done();
}

/** Warnings are for the user. */
function passOn(event: ReportEvent, progress: Progress): void {
  if (event.type === 'log' && event.level === 'warning') progress.warn(event.message);
}
