import { readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { JobSession } from '../bridge/job-session.js';
import type { ReportEvent } from '../bridge/jobs.js';
import type { Params } from '../bridge/protocol.js';
import type { Progress } from '../cli/progress.js';
import type { Evaluator } from './engine.js';
import { deckOf } from './network/deck.js';
import { guideLayers, largestLayers, layersOf } from './network/layers.js';
import type { OpenSearch } from './open.js';
import { gpusOf, type RunParams, runParams } from './run-params.js';
import { genomeKey } from './space.js';

/** Files of shared weights. */
export const CHECKPOINTS = { PyTorch: 'supernet.pth', TensorFlow: 'supernet.npz' };

/** Takes shared weights, and what they were taught by, out of a folder. */
export function removeShared(work: string): void {
  for (const name of readdirSync(work)) if (name.startsWith('supernet.')) rmSync(join(work, name));
}

/** Batches that a candidate's normalizations are set by, and epochs of a network that is trained alone. */
const CALIBRATION_BATCHES = 8;
const ALONE_EPOCHS = 3;

/** An evaluator whose processes have to be ended. */
export interface PythonEvaluator extends Evaluator {
  /** The first of them, for what else is to be done in Python. */
  session: JobSession;
  close: () => Promise<void>;
}

/**
 * Evaluates networks in Python: by weights that all of them share, which are trained first, or each trained alone. Each GPU
 * of the scenario has a process of its own; without one there are `workers` of them. They keep what they have loaded.
 *
 * Rejects as jobs do, with NAS_LOSS, NAS_DATASET, NAS_USER_MODULE.
 */
export async function pythonEvaluator(
  open: OpenSearch,
  work: string,
  { threads, workers, progress }: { threads: number; workers: number; progress: Progress },
): Promise<PythonEvaluator> {
  const { scenario, skeleton } = open;
  const gpus = gpusOf(scenario.resource?.gpu_id);
  const places = (gpus.length > 0 ? gpus : new Array<null>(workers).fill(null)).map((gpu) => ({
    gpu,
    session: open.session(),
  }));
  const close = async (): Promise<void> => {
    await Promise.all(places.map(({ session }) => session.close()));
  };
  const run = { ...runParams({ ...open, work }, threads), largest: largestLayers(skeleton) };
  const shared = scenario.evaluator.kind === 'supernet';
  const checkpoint = shared ? join(work, CHECKPOINTS[scenario.framework]) : null;
  const epochs = shared ? run.epochs : (scenario.evaluator.epochs ?? ALONE_EPOCHS);
  if (checkpoint !== null)
    try {
      await trainShared(open, places[0]!.session, { ...run, checkpoint }, progress);
    } catch (error) {
      await close();
      throw error;
    }
  return {
    workers: places.length,
    session: places[0]!.session,
    close,
    score: async (genome, worker) => {
      const { gpu, session } = places[worker]!;
      const key = genomeKey(genome);
      const networks = [{ key, layers: layersOf(skeleton, genome), seed: run.seed }];
      const params = { ...run, gpu, epochs, checkpoint, calibrationBatches: CALIBRATION_BATCHES, networks };
      const { results } = await session.run('nasScore', params, (event) => passOn(event, progress));
      return results[0]!;
    },
  };
}

/** Trains the weights that all candidates share, from where a checkpoint says it is. */
async function trainShared(
  { scenario, folder, skeleton, problem }: OpenSearch,
  session: JobSession,
  run: RunParams & Pick<Params<'nasTrain'>, 'checkpoint' | 'largest'>,
  progress: Progress,
): Promise<void> {
  const deck = deckOf(problem, run.seed).map((genome) => layersOf(skeleton, genome));
  const stage = progress.stage('Train shared weights');
  const { framework, dataset, resource } = scenario;
  const params = {
    ...run,
    deck,
    guide: guideLayers(skeleton),
    preTrainFolder: dataset.pre_train_dir ? resolve(folder, dataset.pre_train_dir) : null,
    // TensorFlow trains in one process.
    places: framework === 'PyTorch' && resource?.gpu_id ? gpusOf(resource.gpu_id) : [run.gpu],
  };
  await session.run('nasTrain', params, (event) => {
    if (event.type === 'progress') stage.update(event.done, event.total, event.message);
    else passOn(event, progress);
  });
  stage.done();
}

/** Warnings are for the user. */
function passOn(event: ReportEvent, progress: Progress): void {
  if (event.type === 'log' && event.level === 'warning') progress.warn(event.message);
}
