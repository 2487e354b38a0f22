import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Params } from '../bridge/protocol.js';
import type { Scenario } from '../config/scenario.js';
import { UserError } from '../errors.js';

/** Learning rates of the original where a scenario names none. */
const LEARNING_RATES = { image_classification: 1e-4, object_detection: 1e-4, semantic_segmentation: 1e-5 };

/** What training and scoring share. */
export type RunParams = Omit<Params<'nasRetrain'>, 'checkpoint' | 'layers' | 'out' | 'name' | 'samples'>;

export const gpusOf = (list: string | undefined): number[] => list?.split(',').map(Number) ?? [];

const dataOf = (path: string, folder: string): string => join(path.startsWith('/') ? '' : folder, path);

/** @throws UserError NAS_DATASET where a data folder of a scenario is not there, before a framework is started to find out */
export function requireData(
  { scenario: { dataset }, folder }: { scenario: Scenario; folder: string },
  place: string,
): void {
  for (const key of ['train_dir', 'val_dir'] as const) {
    const path = dataOf(dataset[key], folder);
    if (existsSync(path)) continue;
    throw new UserError('NAS_DATASET', `The data folder ${path} does not exist.`, {
      place,
      expected: `dataset.${key}: a folder, relative to ${folder}`,
      suggestions: ['Set train_dir and val_dir in scen.yaml.'],
    });
  }
}

/** Where logs for TensorBoard lie. */
export const tensorboardFolder = (work: string): string => join(work, 'tensorboard');

/** The original's optimizer where a scenario names none. */
const optimizerOf = (framework: Scenario['framework'], application: keyof typeof LEARNING_RATES) =>
  framework === 'TensorFlow' && application === 'semantic_segmentation' ? 'Momentum' : 'Adam';

/** Whether networks of a scenario read pictures with channels first. */
export const channelsFirst = ({ framework, supernet }: Pick<Scenario, 'framework' | 'supernet'>): boolean =>
  framework === 'PyTorch' || supernet.data_format === 'channels_first';

/** What Python gets to know of a scenario; `folder` is that of user_module.py, `work` that of the search's files. */
export function runParams(
  { scenario, folder, work }: { scenario: Scenario; folder: string; work: string },
  threads: number,
): RunParams {
  const { constraint, dataset, optimizer, resource, searcher, supernet } = scenario;
  const weights = optimizer.weights_optimizer;
  const application = constraint.application_type;
  return {
    framework: scenario.framework,
    folder,
    application,
    inputShape: supernet.input_shape,
    channelsFirst: channelsFirst(scenario),
    trainFolder: dataOf(dataset.train_dir, folder),
    valFolder: dataOf(dataset.val_dir, folder),
    epochs: scenario.epochs,
    batchSize: scenario.batch_size,
    optimizer: {
      type: weights.type ?? optimizerOf(scenario.framework, application),
      learningRate: weights.learning_rate ?? LEARNING_RATES[application],
      betas: weights.betas,
      momentum: weights.momentum,
    },
    features: supernet.feature_choose ?? [],
    seed: searcher.seed,
    gpu: gpusOf(resource?.gpu_id)[0] ?? null,
    log: tensorboardFolder(work),
    threads,
  };
}
