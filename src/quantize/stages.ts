import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deviceKey } from '../bridge/device.js';
import type { Params, Result } from '../bridge/protocol.js';
import type { DataSource } from '../config/data.js';
import type { Plan } from '../config/plan.js';
import type { QuantParams } from '../config/quant-params.js';
import type { Verification } from '../config/verification.js';
import type { Graph } from '../graph/graph.js';
import { SafetensorsFile, writeSafetensors } from '../graph/safetensors.js';
import type { NativeCore } from '../native/index.js';
import { plural } from '../report/format.js';
import { type Labels, readLabels } from '../verify/labels.js';
import { verifyModels } from '../verify/verify.js';
import type { ChannelStatistics } from './algorithms/channel-scales.js';
import { checkOf, dequantized, type QdqRewrite, qdqRewrite } from './apply.js';
import { metricJob, type StageContext, stageJob } from './context.js';
import type { Engine } from './engine.js';
import type { Layer } from './layers.js';
import { loadChannels, tensorsToObserve, tensorsWithChannels } from './observe.js';
import type { QuantizeOptions } from './options.js';
import { quantParamsFile } from './params.js';
import { applyRefinement, inputsTooNarrow, RECONSTRUCTION, refinementLayers, unrefined } from './refine.js';
import type { ActivationSolution, Refinement } from './solution.js';
import { solveLayers } from './solve.js';
import { walkIndices } from './walk-samples.js';

/** Bins of a calibration histogram: four to eight of them make one step of an 8-bit grid over the whole range. */
const BINS = 2048;

/** Samples for which every tensor is compared; the ends are compared for all. */
const TENSOR_SAMPLES = 8;

/** What the stages after planning share. */
export interface Prepared {
  options: QuantizeOptions;
  /** Of the model, for the names of results. */
  name: string;
  graph: Graph;
  plan: Plan;
  /** Paths of float.onnx and of its weights, and the digest of what capture, or else equalization, left. */
  float: string;
  weights: string;
  captured: string;
}

type RefineLayer = Params<'refine'>['layers'][number];

interface Keyed<T> {
  value: T;
  digest: string;
}

/** Runs the float model once over the calibration samples. */
export function observeStage(
  context: StageContext,
  prepared: Prepared,
  source: DataSource,
  dataDigest: string,
) {
  const tensors = tensorsToObserve(prepared.plan);
  const key = {
    captured: prepared.captured,
    tensors,
    dataDigest,
    source: { ...source, path: '' },
    bins: BINS,
    ...deviceKey(context.device),
  };
  return context.run.stage('observe', key, (out) =>
    stageJob(
      context,
      'calibrate',
      'observe',
      { model: prepared.float, tensors, source, out, bins: BINS, threads: context.threads },
      ({ samples }) => `${plural(samples, 'sample')}, ${plural(tensors.length, 'tensor')}`,
    ),
  );
}

/** Statistics a channel of the tensors that may take a scale a channel. */
export async function channelStage(
  context: StageContext,
  { options, plan, graph, float, captured }: Prepared,
  source: DataSource,
  dataDigest: string,
): Promise<Map<string, ChannelStatistics>> {
  const tensors = options.engine.channelScales ? tensorsWithChannels(plan) : [];
  if (tensors.length === 0) return new Map();
  const chosen = { ...source, indices: source.indices && walkIndices(graph, source.indices) };
  const key = {
    captured,
    tensors,
    dataDigest,
    source: { ...chosen, path: '' },
    ...deviceKey(context.device),
  };
  await context.run.stage('channels', key, async (out) => {
    const { threads } = context;
    const params = { model: float, tensors, source: chosen, out, threads };
    await stageJob(context, 'compare channels', 'observeChannels', params, () =>
      plural(tensors.length, 'tensor'),
    );
  });
  return loadChannels(join(context.run.stageFolder('channels'), 'channels.safetensors'));
}

/** Chooses ranges at layer outputs, solves weights and measures bias shifts; returns the solution with all in it. */
export async function refineStage(
  context: StageContext,
  core: NativeCore,
  prepared: Prepared,
  layers: readonly Layer[],
  solution: ActivationSolution,
  source: DataSource,
  statisticsDigest: string,
): Promise<Keyed<Refinement>> {
  const { options, float } = prepared;
  const asked = switched(refinementLayers(core, prepared.graph, layers, solution), options.engine);
  const solved = options.engine.reconstruction ? layers : [];
  if (solved.length === 0 && !asked.some(({ choice, correctBias }) => choice !== null || correctBias)) {
    return { value: unrefined(solution), digest: 'none' };
  }
  const { longWalk, leastError } = options.engine;
  const indices = source.indices && walkIndices(prepared.graph, source.indices, longWalk);
  const key = {
    captured: prepared.captured,
    statisticsDigest,
    asked,
    solved: solved.length,
    reconstruction: RECONSTRUCTION,
    leastError,
    indices,
    plan: prepared.plan,
    ...deviceKey(context.device),
  };
  const { value, digest } = await context.run.stage('refine', key, async (folder) => {
    const quantized = join(folder, 'quantized.onnx');
    const edits = rewriteFor(core, prepared, layers, unrefined(solution), 'float32');
    await writeModel(context, folder, float, edits, quantized);
    const weights = join(folder, 'weights.safetensors');
    writeSafetensors(
      weights,
      new Map(solved.map(({ name, weight, shape }) => [name, { data: weight, shape }])),
    );
    const params: Params<'refine'> = {
      float,
      quantized,
      source: { ...source, indices },
      layers: asked,
      weights,
      reconstruction: RECONSTRUCTION,
      rangeRule: leastError ? 'least' : 'widest',
      out: join(folder, 'refined.safetensors'),
      threads: context.threads,
    };
    const answer = await stageJob(context, 'refine', 'refine', params, refineSummary);
    rmSync(quantized);
    rmSync(weights);
    return { ...answer, parameters: 'refined.safetensors', seconds: 0 };
  });
  const parameters = SafetensorsFile.open(join(context.run.stageFolder('refine'), value.parameters));
  const narrow = inputsTooNarrow(prepared.graph, layers, solution, value);
  return { value: applyRefinement(core, solution, asked, value, parameters, narrow), digest };
}

/** What the walk does with some of its parts switched off. */
function switched(
  asked: readonly RefineLayer[],
  { refineRanges, biasCorrection, sumTargets }: Engine,
): RefineLayer[] {
  return asked.map((layer) => ({
    ...layer,
    sum: sumTargets ? layer.sum : null,
    choice: refineRanges ? layer.choice : null,
    correctBias: biasCorrection && layer.correctBias,
  }));
}

function refineSummary({ layers, samples }: Result<'refine'>): string {
  const ratio = layers.reduce(
    (sum, layer) => sum + Math.log(layer.errorAfter / (layer.errorBefore || 1) || 1),
    0,
  );
  const change = 10 * Math.log10(Math.exp(-ratio / Math.max(1, layers.length)));
  return `${layers.length} layers on ${samples} samples, ${change >= 0 ? '+' : ''}${change.toFixed(1)} dB a layer`;
}

function rewriteFor(
  core: NativeCore,
  { graph, plan }: Prepared,
  layers: readonly Layer[],
  refinement: Refinement,
  biases: 'int32' | 'float32',
): QdqRewrite {
  return qdqRewrite(
    graph.file,
    plan,
    layers,
    solveLayers(core, layers, refinement),
    refinement.activations,
    biases,
  );
}

async function writeModel(
  context: StageContext,
  folder: string,
  model: string,
  { rewrite, parameters }: QdqRewrite,
  out: string,
): Promise<void> {
  const edits = join(folder, 'rewrite.json');
  const tensors = join(folder, 'parameters.safetensors');
  writeFileSync(edits, JSON.stringify(rewrite));
  writeSafetensors(tensors, parameters);
  await stageJob(context, 'write model', 'rewrite', {
    model,
    rewrite: edits,
    parameters: tensors,
    out,
    externalDataAbove: null,
    check: checkOf(rewrite),
  });
}

/** Writes the quantized model and its parameter file. */
export function applyStage(
  context: StageContext,
  core: NativeCore,
  prepared: Prepared,
  layers: readonly Layer[],
  refinement: Refinement,
  refined: string,
  modelName: string,
): Promise<Keyed<{ model: string; params: QuantParams }>> {
  const { activations } = refinement;
  const key = {
    captured: prepared.captured,
    refined,
    plan: prepared.plan,
    activations: [...activations.values()],
  };
  return context.run.stage('apply', key, async (folder) => {
    await writeModel(
      context,
      folder,
      prepared.float,
      rewriteFor(core, prepared, layers, refinement, 'int32'),
      join(folder, 'quantized.onnx'),
    );
    const solved = solveLayers(core, layers, refinement);
    return {
      model: 'quantized.onnx',
      params: quantParamsFile(modelName, prepared.plan, layers, solved, activations),
    };
  });
}

/** What scores a model: the samples, the names of all samples of their source, and what decides the result. */
export interface Scoring {
  /** The float model as it was captured, before anything was changed in it. */
  reference: string;
  source: DataSource;
  names: readonly string[];
  /** Where a metric of the user's runs. */
  metricContext: StageContext;
  key: unknown;
}

/** Labels of materialized samples; null where nothing is scored by them. */
export function labelsOf(
  { labels, metric }: QuantizeOptions,
  samples: readonly { name: string }[],
  names: readonly string[],
): Promise<Labels | null> {
  if (labels === null || metric === null) return Promise.resolve(null);
  return readLabels(
    labels,
    metric,
    samples.map(({ name }) => ({ name, index: names.indexOf(name) })),
  );
}

/** Compares both models on samples that never calibrated. */
export function verifyStage(
  context: StageContext,
  prepared: Prepared,
  quantized: string,
  { reference, source, names, metricContext, key }: Scoring,
): Promise<Keyed<{ verification: Verification; skipped: { file: string; reason: string }[] }>> {
  const { options, float, plan, graph } = prepared;
  return context.run.stage('verify', key, async (folder) => {
    const out = join(folder, 'samples');
    const { samples, skipped } = await stageJob(context, 'read scored samples', 'materialize', {
      source,
      out,
    });
    const inner = plan.activations.map(({ tensor }) => tensor).filter((tensor) => graph.producer(tensor));
    const models = { float: join(folder, 'float.onnx'), quantized: join(folder, 'quantized.onnx') };
    await addOutputs(context, 'float', folder, float, inner, models.float);
    await addOutputs(context, 'quantized', folder, quantized, inner.map(dequantized), models.quantized);
    const labels = await labelsOf(options, samples, names);
    const shown = context.progress.stage('verify');
    const verification = await verifyModels({
      float: reference,
      quantized,
      userMetric: { run: metricJob(metricContext), folder },
      samples,
      tensors: {
        ...models,
        pairs: inner.map((name) => ({ name, float: name, quantized: dequantized(name) })),
        samples: TENSOR_SAMPLES,
      },
      metric: options.metric,
      labels,
      preprocess: options.preprocess,
      optimization: 'disabled',
      threads: context.threads,
      ...(context.signal ? { signal: context.signal } : {}),
      onProgress: (done, total, message) => shown.update(done, total, message),
    });
    shown.done(`${samples.length} samples`);
    rmSync(out, { recursive: true });
    for (const path of Object.values(models)) rmSync(path);
    return { verification, skipped };
  });
}

async function addOutputs(
  context: StageContext,
  which: 'float' | 'quantized',
  folder: string,
  model: string,
  extraOutputs: string[],
  out: string,
): Promise<void> {
  const rewrite = join(folder, 'outputs.json');
  const none = { removeNodes: [], initializers: [], inputs: [], outputs: [], attributes: [], addNodes: [] };
  writeFileSync(rewrite, JSON.stringify({ version: 1, ...none, extraOutputs }));
  await stageJob(context, `prepare verification, ${which}`, 'rewrite', {
    model,
    rewrite,
    parameters: null,
    out,
    externalDataAbove: null,
    check: 'none',
  });
}
