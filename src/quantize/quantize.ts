import { basename, extname, join } from 'node:path';
import { ensureEnvironment } from '../bridge/environments.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import type { Plan } from '../config/plan.js';
import type { QuantParams } from '../config/quant-params.js';
import type { RunResult } from '../config/result.js';
import type { Statistics } from '../config/statistics.js';
import type { DoorResult } from '../config/verification.js';
import { checkParity, type Door, openDoor, withFeatures } from '../doors/convert.js';
import { goBack } from '../doors/go-back.js';
import { UserError } from '../errors.js';
import { type Graph, loadGraph } from '../graph/graph.js';
import { SafetensorsFile } from '../graph/safetensors.js';
import { loadNative, type NativeCore } from '../native/index.js';
import { renderReport, reportInput } from '../report/report.js';
import { fileDigest } from '../run/digest.js';
import { Run } from '../run/run.js';
import { VERSION } from '../version.js';
import { type StageContext, stageJob, warn } from './context.js';
import { chooseSamples, type SampleSets } from './data.js';
import { collectLayers } from './layers.js';
import { loadObserved } from './observe.js';
import { type QuantizeOptions, widthOf } from './options.js';
import { planQuantization } from './plan.js';
import { assembleResult } from './result.js';
import { solveActivations, solveLayers } from './solve.js';
import {
  applyStage,
  channelStage,
  labelsOf,
  observeStage,
  type Prepared,
  refineStage,
  verifyStage,
} from './stages.js';

export interface QuantizeContext {
  progress?: Progress;
  signal?: AbortSignal;
  /** Command line for the manifest and the report, program name first. */
  command?: readonly string[];
  /** What is already known to be worth a warning in the report. */
  warnings?: readonly string[];
}

/**
 * Quantizes a model: capture, plan, calibrate, refine, apply, verify, report. Each stage leaves its files in the run
 * folder and is not repeated with `resume`.
 *
 * Rejects with one of the four kinds of src/errors.ts; nothing half-written ever has a final name.
 */
export async function quantize(options: QuantizeOptions, context: QuantizeContext = {}): Promise<RunResult> {
  const progress = context.progress ?? silentProgress;
  const run = await Run.open(options.out, {
    resume: options.resume,
    inputs: [
      options.model,
      options.data,
      options.weights,
      options.verifyData,
      ...(options.parts ?? []).map(({ path }) => path),
    ].filter((path) => path !== null),
    command: context.command ?? ['dopt', 'quantize'],
    version: VERSION,
  });
  try {
    const environment = await ensureEnvironment('onnx', options.environment, {
      onProgress: (line) => progress.note(line),
    });
    const core = loadNative();
    core.setThreads(options.threads);
    const { threads } = options;
    const stages: StageContext = {
      run,
      environment,
      threads,
      progress,
      signal: context.signal,
      warnings: [...(context.warnings ?? [])],
    };
    return await quantizeIn(stages, core, options, context.command ?? []);
  } catch (error) {
    await run.abandon(error);
    throw error;
  }
}

async function quantizeIn(
  context: StageContext,
  core: NativeCore,
  options: QuantizeOptions,
  command: readonly string[],
): Promise<RunResult> {
  const started = performance.now();
  const { run } = context;
  const door = await openDoor(context, options);
  const { capture, prepared } = await captureAndPlan(context, options, door);
  const { graph, plan } = prepared;

  const sets = await chooseSamples(
    await withFeatures(context, door, options),
    context.environment,
    graph.file.inputs,
    context.signal,
  );
  reportSets(context, sets);
  const { calibration, verification } = sets;
  const dataDigest = calibration.listing.sha256;
  const parity = door && (await checkParity(context, door, calibration.source, dataDigest));
  const observation = await observeStage(context, prepared, calibration.source, dataDigest);
  const { statistics, observed } = loadObserved(observation.value.statistics, observation.value.histograms);
  for (const warning of statistics.warnings) warn(context, warning);

  const layers = collectLayers(graph.file, plan, SafetensorsFile.open(capture.weights));
  const channels = await channelStage(context, prepared, calibration.source, dataDigest);
  const { calibration: method, engine } = options;
  const ties = engine.concatTies ? 'by loss' : 'always';
  const solution = solveActivations(core, plan, observed, channels, method, ties);
  const { value: refinement, digest: refined } = await refineStage(
    context,
    core,
    prepared,
    layers,
    solution,
    calibration.source,
    observation.digest,
  );
  const { name } = prepared;
  const applied = await applyStage(context, core, prepared, layers, refinement, refined, name);
  const quantized = join(run.stageFolder('apply'), applied.value.model);

  const scoring = verification && {
    source: verification.source,
    names: verification.listing.names,
    key: {
      applied: applied.digest,
      data: verification.listing.sha256,
      source: { ...verification.source, path: '' },
      metric: options.metric,
      labels: options.labels ? await labelsKey(options.labels) : null,
    },
  };
  const verified = scoring && (await verifyStage(context, prepared, quantized, scoring));
  for (const warning of verified?.value.verification.warnings ?? []) warn(context, warning);

  const width = widthOf(plan.strategy);
  const results = { [`${name}.${width}.onnx`]: quantized };
  let doorResult: DoorResult | null = null;
  if (door) {
    const solved = solveLayers(core, layers, refinement.activations, refinement.shifts);
    const back = await goBack(context, {
      door,
      parity: parity!,
      quantization: { graph: graph.file, plan, layers, solved, activations: refinement.activations },
      float: prepared.float,
      quantized,
      applied: applied.digest,
      scoring,
      metric: options.metric,
      labelsOf: (samples) => labelsOf(options, samples, scoring?.names ?? []),
    });
    const extension = extname(back.plain);
    results[`${name}.${width}${extension}`] = back.plain;
    if (options.fakeQuant && back.checked !== back.plain)
      results[`${name}.fake-quant${extension}`] = back.checked;
    doorResult = back.result;
  }

  for (const [file, path] of Object.entries(results)) await run.publish(path, file);
  await run.write('quant_params.json', json(applied.value.params));
  const files = await run.digests([...Object.keys(results), 'quant_params.json']);
  const result = assembleResult({
    options,
    context,
    core,
    capture,
    door,
    doorResult,
    prepared,
    sets,
    statistics,
    verified: verified?.value ?? null,
    quantizedBytes: Object.values(files)[0]!.bytes,
    peakBytes: observation.value.peakBytes,
    seconds: (performance.now() - started) / 1000,
    command,
    files,
  });
  await run.write('report.html', report(result, plan, applied.value.params, statistics, observed));
  result.files = await run.digests([...Object.keys(files), 'report.html']);
  await run.write('result.json', json(result));
  const { settings, data, versions, model } = result;
  await run.finish(
    {
      settings,
      data,
      versions,
      source: model.source,
      preprocess: options.preprocess,
      parity: model.parity,
      door: doorResult,
    },
    result.files,
  );
  return result;
}

/** Name of the results: the file's or folder's own, without its ending. */
const modelName = (path: string): string => basename(path, extname(path));

async function captureAndPlan(context: StageContext, options: QuantizeOptions, door: Door | null) {
  const { run } = context;
  // A door has fixed the shapes and cut the outputs by the framework's own names.
  const model = door?.conversion.model ?? options.model;
  const inputShapes = door ? {} : options.inputShapes;
  const outputs = door ? null : options.outputs;
  const { float16ToFloat32, seed } = options;
  const source = await modelDigest(model);
  const key = { source, inputShapes, outputs, float16ToFloat32, seed, version: VERSION };
  const { value: capture, digest } = await run.stage('capture', key, (out) =>
    stageJob(
      context,
      'capture',
      'capture',
      { model, out, inputShapes, outputs, float16ToFloat32, seed },
      (answer) => {
        const { from, to } = answer.opset;
        return `opset ${from}${from === to ? '' : ` to ${to}`}, parity ${answer.parity.maxRelativeDifference.toExponential(1)}`;
      },
    ),
  );
  const graph: Graph = await loadGraph(capture.graph);
  const plan: Plan = planQuantization(graph, { ...options, fuse: options.engine.fusedActivations });
  if (plan.weights.length === 0 && plan.activations.length === 0) {
    throw new UserError('NOTHING_TO_QUANTIZE', `${model} has no operator that could be quantized.`, {
      place: model,
      found: [...new Set(plan.floatNodes.map((node) => node.op))].join(', '),
      suggestions: ['See why with: dopt inspect MODEL', 'Give fewer exclusions, if there are any.'],
    });
  }
  await run.write('plan.json', json(plan));
  const { activations, weights, floatNodes } = plan;
  context.progress.note(
    `plan: ${weights.length} layers, ${activations.length} quantizers, ${floatNodes.length} operators stay float`,
  );
  const name = modelName(options.model);
  const prepared: Prepared = { options, name, graph, plan, float: capture.model, captured: digest };
  return { capture, prepared };
}

/** Digest of the model file; a file that cannot be read is the user's to mend. */
async function modelDigest(path: string): Promise<string> {
  try {
    return (await fileDigest(path)).sha256;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const reason =
      code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a folder' : `cannot be read (${code})`;
    throw new UserError('MODEL_NOT_FOUND', `The model ${path} ${reason}.`, {
      place: path,
      cause,
      suggestions: ['Give the path of an .onnx file.'],
    });
  }
}

/** What identifies labels: the digest of a file, or the path of a folder. */
async function labelsKey(path: string): Promise<string> {
  return fileDigest(path).then(
    ({ sha256 }) => sha256,
    () => path,
  );
}

function reportSets(context: StageContext, { calibration, verification }: SampleSets): void {
  const count = calibration.source.indices!.length;
  context.progress.note(
    `data: ${count} samples calibrate, ${verification ? `${verification.source.indices!.length} others score` : 'none is left to score'}`,
  );
  if (!verification)
    warn(context, 'There is no sample left to score with: the accuracy of the result was not measured.');
  if (count < 16) warn(context, `Only ${count} calibration samples: give about 100 for stable ranges.`);
}

function report(
  result: RunResult,
  plan: Plan,
  params: QuantParams,
  statistics: Statistics,
  observed: ReturnType<typeof loadObserved>['observed'],
): string {
  const counts = (tensor: string): BigUint64Array | undefined => observed.get(tensor)?.histogram.counts;
  return renderReport(reportInput({ result, plan, params, statistics, counts }));
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
