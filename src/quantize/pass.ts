import { join } from 'node:path';
import type { DataSource } from '../config/data.js';
import type { QuantParams } from '../config/quant-params.js';
import type { Statistics } from '../config/statistics.js';
import { SafetensorsFile } from '../graph/safetensors.js';
import type { NativeCore } from '../native/index.js';
import { targetProfile } from '../target/profiles.js';
import type { ChannelStatistics } from './algorithms/channel-scales.js';
import type { NarrowInput } from './algorithms/narrow-inputs.js';
import { type StageContext, warn } from './context.js';
import type { ChosenSamples } from './data.js';
import { collectLayers, type Layer } from './layers.js';
import { loadObserved } from './observe.js';
import { preparedWith } from './open.js';
import type { QuantizeOptions } from './options.js';
import type { ActivationSolution, Observed, Refinement } from './solution.js';
import { solveActivations } from './solve.js';
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
  /** Inputs of the network that got 16 bits because 8 had turned out to be too few. */
  widened: readonly NarrowInput[];
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

/**
 * Solves, refines and writes one plan. Where the walk finds an input of the network that 8 bits are too few for, all of it is
 * done again with 16 bits for that input: what is solved behind it makes up for the errors that it has.
 */
export async function quantizePlan(
  context: StageContext,
  core: NativeCore,
  prepared: Prepared,
  calibrated: Calibrated,
): Promise<Quantized> {
  const narrow = await quantizeAsPlanned(context, core, prepared, calibrated);
  const widened = inputsToWiden(prepared.options, narrow.refinement.narrow);
  if (widened.length === 0) return narrow;
  const { options, plan: _, ...captured } = prepared;
  const int16 = [...(options.precision?.int16 ?? []), ...widened.map(({ input }) => input)];
  const precision = { int16, float: options.precision?.float ?? [] };
  const wide = preparedWith(captured, { ...options, precision });
  return { ...(await quantizeAsPlanned(context, core, wide, calibrated)), widened };
}

/** Of the inputs that 8 bits are too few for, those that get 16. */
const inputsToWiden = (
  { engine, target }: QuantizeOptions,
  narrow: readonly NarrowInput[],
): readonly NarrowInput[] => (engine.wideInputs && targetProfile(target).int16Activations ? narrow : []);

async function quantizeAsPlanned(
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
  return { prepared, layers, refinement, params: value.params, widened: [], path, digest };
}

/** The layers of a plan with their float weights. */
export const layersOf = ({ graph, plan, weights, options }: Prepared): Layer[] =>
  collectLayers(graph.file, plan, SafetensorsFile.open(weights)).map((layer) => ({
    ...layer,
    exactSums: layer.exactSums && options.engine.exactSums,
  }));
