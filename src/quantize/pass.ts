import { join } from 'node:path';
import type { DataSource } from '../config/data.js';
import type { QuantParams } from '../config/quant-params.js';
import type { Statistics } from '../config/statistics.js';
import { SafetensorsFile } from '../graph/safetensors.js';
import type { NativeCore } from '../native/index.js';
import type { ChannelStatistics } from './algorithms/channel-scales.js';
import { type StageContext, warn } from './context.js';
import type { ChosenSamples } from './data.js';
import { collectLayers, type Layer } from './layers.js';
import { loadObserved } from './observe.js';
import type { Refinement } from './refine.js';
import { type ActivationSolution, type Observed, solveActivations } from './solve.js';
import { applyStage, channelStage, observeStage, type Prepared, refineStage } from './stages.js';

/** What calibration saw. */
export interface Calibrated {
  source: DataSource;
  statistics: Statistics;
  observed: Map<string, Observed>;
  channels: Map<string, ChannelStatistics>;
  digest: string;
}

/** Runs the float model over the samples that calibrate. */
export async function calibrate(
  context: StageContext,
  prepared: Prepared,
  { source, listing }: ChosenSamples,
): Promise<Calibrated> {
  const { value, digest } = await observeStage(context, prepared, source, listing.sha256);
  const { statistics, observed } = loadObserved(value.statistics, value.histograms);
  for (const warning of statistics.warnings) warn(context, warning);
  const channels = await channelStage(context, prepared, source, listing.sha256);
  return { source, statistics, observed, channels, digest };
}

/** A plan with its numbers, and the model that was written with them. */
export interface Quantized {
  prepared: Prepared;
  layers: Layer[];
  refinement: Refinement;
  params: QuantParams;
  /** The QDQ model, and the digest of the stage that wrote it. */
  path: string;
  digest: string;
}

/** Ranges from what calibration saw, by the method and the engine of the options. */
export function solvePlan(
  core: NativeCore,
  { plan, options }: Prepared,
  { observed, channels }: Calibrated,
  layers: readonly Layer[],
): ActivationSolution {
  const ties = options.engine.concatTies ? 'by loss' : 'always';
  const exact = new Set(layers.flatMap(({ input, exactSums }) => (exactSums ? [input] : [])));
  return solveActivations(core, plan, observed, channels, options.calibration, ties, exact);
}

/** Solves, refines and writes one plan. */
export async function quantizePlan(
  context: StageContext,
  core: NativeCore,
  prepared: Prepared,
  calibrated: Calibrated,
): Promise<Quantized> {
  const layers = layersOf(prepared);
  const solution = solvePlan(core, prepared, calibrated, layers);
  const { value: refinement, digest: refined } = await refineStage(
    context,
    core,
    prepared,
    layers,
    solution,
    calibrated.source,
    calibrated.digest,
  );
  const { value, digest } = await applyStage(
    context,
    core,
    prepared,
    layers,
    refinement,
    refined,
    prepared.name,
  );
  const path = join(context.run.stageFolder('apply'), value.model);
  return { prepared, layers, refinement, params: value.params, path, digest };
}

/** The layers of a plan with their float weights. */
export const layersOf = ({ graph, plan, weights, options }: Prepared): Layer[] =>
  collectLayers(graph.file, plan, SafetensorsFile.open(weights)).map((layer) => ({
    ...layer,
    exactSums: layer.exactSums && options.engine.exactSums,
  }));
