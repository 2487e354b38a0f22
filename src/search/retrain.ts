import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { progressJob } from '../bridge/progress-job.js';
import type { FrontNetwork } from '../config/pareto.js';
import { type Pareto, paretoSchema } from '../config/pareto.js';
import { readScenario } from '../config/scenario.js';
import { UserError } from '../errors.js';
import { digestOf } from '../run/digest.js';
import { lockRun } from '../run/lock.js';
import { readRunFile } from '../run/run-file.js';
import { CHECKPOINTS } from './evaluator.js';
import { onDevices, requireGpus, trainingEnvironment, workFolder } from './open.js';
import { quantizeTrained } from './quantize-trained.js';
import type { Retrained, RetrainOptions } from './retrained.js';
import { requireData, runParams } from './run-params.js';

/** Samples of each folder that are written for quantization. */
const SAMPLES = 1000;

/**
 * Trains a network of a search from new weights for as long as asked, and writes it below `out/retrained`. Repeated, it goes
 * on from the last finished epoch.
 *
 * Rejects with UserError SCENARIO_INVALID, SEARCH_NO_RESULTS, SEARCH_NO_NETWORK, RUN_LOCKED, as jobs do, and as `quantize`
 * does.
 */
export async function retrain(options: RetrainOptions): Promise<Retrained> {
  const { out, number, threads, progress, signal } = options;
  const scenario = onDevices(await readScenario(options.scenario), options.gpus);
  requireData({ scenario, folder: dirname(resolve(options.scenario)) }, options.scenario);
  const network = networkOf(join(out, 'pareto.json'), number);
  const name = `model_arch_result_${number}`;
  const folder = join(out, 'retrained', name);
  mkdirSync(folder, { recursive: true });
  const unlock = lockRun(join(folder, 'lock'), folder);
  try {
    const places = { folder: dirname(resolve(options.scenario)), work: workFolder(out) };
    const base = runParams({ scenario, ...places }, threads);
    const run = { ...base, epochs: options.epochs ?? base.epochs, layers: network.layers };
    const { threads: _, gpu: __, log: ___, ...decides } = run;
    const checkpoint = join(folder, `${digestOf(decides).slice(0, 12)}-${CHECKPOINTS[scenario.framework]}`);
    const environment = await trainingEnvironment(scenario, options);
    await requireGpus(scenario, environment, signal);
    const job = progressJob(environment, threads, progress, signal);
    const params = { ...run, checkpoint, out: folder, name, samples: SAMPLES };
    const { loss: ____, ...written } = await job(`Train network ${number}`, 'nasRetrain', params);
    const { epochs } = run;
    const trained = { number, epochs, searchScore: network.score, folder, ...written };
    const quantized = options.quantize ? await quantizeTrained(trained, run, options) : null;
    return { version: 1, ...trained, quantized };
  } finally {
    unlock();
  }
}

function networkOf(path: string, number: number): FrontNetwork {
  if (!existsSync(path))
    throw new UserError('SEARCH_NO_RESULTS', `There is no ${path}.`, {
      place: path,
      suggestions: ['Search first: dopt search -c scen.yaml', 'Name its folder: --out FOLDER'],
    });
  const { networks }: Pareto = readRunFile(path, paretoSchema);
  const network = networks.find((one) => one.number === number);
  if (network) return network;
  throw new UserError('SEARCH_NO_NETWORK', `The search has no network ${number}.`, {
    place: path,
    expected: networks.length === 0 ? 'a search with results' : `a number from 0 to ${networks.length - 1}`,
    found: String(number),
    suggestions: ['search.html and pareto.json show which there are.'],
  });
}
