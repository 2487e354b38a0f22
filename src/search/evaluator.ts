import { join } from 'node:path';
import type { Params } from '../bridge/protocol.js';
import type { Evaluator } from './engine.js';
import { deckOf } from './network/deck.js';
import { largestLayers, layersOf } from './network/layers.js';
import type { OpenSearch } from './open.js';
import { type Genome, genomeKey } from './space.js';

/** Files of shared weights. */
const CHECKPOINTS = { PyTorch: 'supernet.pth', TensorFlow: 'supernet.npz' };

/** Batches that a candidate's normalizations are set by, and epochs of a network that is trained alone. */
const CALIBRATION_BATCHES = 8;
const ALONE_EPOCHS = 3;

/** Learning rates of the original where a scenario names none. */
const LEARNING_RATES = { image_classification: 1e-4, object_detection: 1e-5, semantic_segmentation: 1e-5 };

type RunParams = Omit<Params<'nasTrain'>, 'checkpoint' | 'deck' | 'largestNetwork' | 'smallestNetwork'>;

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

/**
 * Evaluates networks in Python: by weights that all of them share, which are trained first, or each trained alone. Each GPU
 * of the scenario has a process of its own; without one there are `workers` of them.
 *
 * Rejects as jobs do, with NAS_LOSS, NAS_DATASET, NAS_USER_MODULE.
 */
export async function pythonEvaluator(
  open: OpenSearch,
  work: string,
  { threads, workers }: { threads: number; workers: number },
): Promise<Evaluator & { close: () => Promise<void> }> {
  const { scenario, skeleton, problem } = open;
  const gpus = gpusOf(scenario.resource?.gpu_id);
  const places = (gpus.length > 0 ? gpus : new Array<null>(workers).fill(null)).map((gpu) => ({
    gpu,
    session: open.session(),
  }));
  const run = runParams(open, threads);
  const close = async (): Promise<void> => {
    await Promise.all(places.map(({ session }) => session.close()));
  };
  const shared = scenario.evaluator.kind === 'supernet';
  const checkpoint = shared ? join(work, CHECKPOINTS[scenario.framework]) : null;
  if (checkpoint !== null) {
    // The teacher of all is the candidate with the most to compute, and the smallest one is trained in every step too.
    const deck = deckOf(problem, run.seed);
    const cost = (genome: Genome): number => problem.screen(genome).costs[0]!;
    const bySize = [...deck].sort((a, b) => cost(a) - cost(b));
    const layers = (genome: Genome) => layersOf(skeleton, genome);
    const params = {
      ...run,
      checkpoint,
      deck: deck.map(layers),
      largestNetwork: layers(bySize.at(-1)!),
      smallestNetwork: layers(bySize[0]!),
    };
    try {
      await places[0]!.session.job('Train shared weights', 'nasTrain', params);
    } catch (error) {
      await close();
      throw error;
    }
  }
  const epochs = shared ? run.epochs : (scenario.evaluator.epochs ?? ALONE_EPOCHS);
  return {
    close,
    score: async (genomes, report) => {
      const shares = places.map(({ gpu, session }, place) => ({
        gpu,
        session,
        networks: genomes
          .filter((_, index) => index % places.length === place)
          .map((genome) => ({ key: genomeKey(genome), layers: layersOf(skeleton, genome), seed: run.seed })),
      }));
      const ended = await Promise.allSettled(
        shares
          .filter(({ networks }) => networks.length > 0)
          .map(async ({ gpu, session, networks }) => {
            const params = {
              ...run,
              gpu,
              epochs,
              checkpoint,
              calibrationBatches: CALIBRATION_BATCHES,
              networks,
            };
            const { results } = await session.job(`Score ${networks.length} networks`, 'nasScore', params);
            for (const verdict of results) report(verdict);
          }),
      );
      const failed = ended.find(({ status }) => status === 'rejected');
      if (failed) throw (failed as PromiseRejectedResult).reason;
    },
  };
}
