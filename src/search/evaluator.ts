import { join } from 'node:path';
import type { JobSession } from '../bridge/job-session.js';
import type { ReportEvent } from '../bridge/jobs.js';
import type { Params } from '../bridge/protocol.js';
import type { Progress } from '../cli/progress.js';
import type { Evaluator } from './engine.js';
import { deckOf } from './network/deck.js';
import { guideLayers, largestLayers, layersOf } from './network/layers.js';
import type { OpenSearch } from './open.js';
import { type Genome, genomeKey } from './space.js';

/** Files of shared weights. */
const CHECKPOINTS = { PyTorch: 'supernet.pth', TensorFlow: 'supernet.npz' };

/** Batches that a candidate's normalizations are set by, and epochs of a network that is trained alone. */
const CALIBRATION_BATCHES = 8;
const ALONE_EPOCHS = 3;

/** Learning rates of the original where a scenario names none. */
const LEARNING_RATES = { image_classification: 1e-4, object_detection: 1e-5, semantic_segmentation: 1e-5 };

type RunParams = Omit<
  Params<'nasTrain'>,
  'checkpoint' | 'deck' | 'largestNetwork' | 'smallestNetwork' | 'guide'
>;

const gpusOf = (list: string | undefined): number[] => list?.split(',').map(Number) ?? [];

/** What Python gets to know of a scenario. */
function runParams({ scenario, folder, skeleton }: OpenSearch, threads: number): RunParams {
  const { constraint, dataset, optimizer, resource, searcher } = scenario;
  const weights = optimizer.weights_optimizer;
  const application = constraint.application_type;
  const data = (path: string): string => join(path.startsWith('/') ? '' : folder, path);
  return {
    framework: scenario.framework,
    folder,
    application,
    inputShape: scenario.supernet.input_shape,
    trainFolder: data(dataset.train_dir),
    valFolder: data(dataset.val_dir),
    epochs: scenario.epochs,
    batchSize: scenario.batch_size,
    optimizer: {
      type: weights.type ?? 'Adam',
      learningRate: weights.learning_rate ?? LEARNING_RATES[application],
      betas: weights.betas,
      momentum: weights.momentum,
    },
    features: [...skeleton.features],
    largest: largestLayers(skeleton),
    seed: searcher.seed,
    gpu: gpusOf(resource?.gpu_id)[0] ?? null,
    threads,
  };
}

/** An evaluator whose processes have to be ended. */
export interface PythonEvaluator extends Evaluator {
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
  const run = runParams(open, threads);
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
  { skeleton, problem }: OpenSearch,
  session: JobSession,
  run: RunParams & { checkpoint: string },
  progress: Progress,
): Promise<void> {
  // The teacher of all is the candidate with the most to compute, and the smallest one is trained in every step too.
  const deck = deckOf(problem, run.seed);
  const cost = (genome: Genome): number => problem.screen(genome).costs[0]!;
  const bySize = [...deck].sort((a, b) => cost(a) - cost(b));
  const layers = (genome: Genome) => layersOf(skeleton, genome);
  const stage = progress.stage('Train shared weights');
  const networks = {
    deck: deck.map(layers),
    largestNetwork: layers(bySize.at(-1)!),
    smallestNetwork: layers(bySize[0]!),
    guide: guideLayers(skeleton),
  };
  await session.run('nasTrain', { ...run, ...networks }, (event) => {
    if (event.type === 'progress') stage.update(event.done, event.total, event.message);
    else passOn(event, progress);
  });
  stage.done();
}

/** Warnings are for the user. */
function passOn(event: ReportEvent, progress: Progress): void {
  if (event.type === 'log' && event.level === 'warning') progress.warn(event.message);
}
