import { basename, extname, join } from 'node:path';
import { ensureEnvironment } from '../bridge/environments.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import type { Plan } from '../config/plan.js';
import type { QuantParams } from '../config/quant-params.js';
import type { RunResult, SampleSet } from '../config/result.js';
import type { Statistics } from '../config/statistics.js';
import { UserError } from '../errors.js';
import { type Graph, loadGraph } from '../graph/graph.js';
import { SafetensorsFile } from '../graph/safetensors.js';
import { loadNative, type NativeCore } from '../native/index.js';
import { renderReport, reportInput } from '../report/report.js';
import { fileDigest } from '../run/digest.js';
import { Run } from '../run/run.js';
import { VERSION } from '../version.js';
import { type StageContext, stageJob, warn } from './context.js';
import { type ChosenSamples, chooseSamples, type SampleSets } from './data.js';
import { collectLayers } from './layers.js';
import { loadObserved } from './observe.js';
import type { QuantizeOptions } from './options.js';
import { planQuantization } from './plan.js';
import { solveActivations } from './solve.js';
import { applyStage, channelStage, observeStage, type Prepared, refineStage, verifyStage } from './stages.js';

export interface QuantizeContext {
  progress?: Progress;
  signal?: AbortSignal;
  /** Command line for the manifest and the report, program name first. */
  command?: readonly string[];
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
    inputs: [options.model, options.data, ...(options.verifyData ? [options.verifyData] : [])],
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
      warnings: [],
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
  const { capture, prepared, captured } = await captureAndPlan(context, options);
  const { graph, plan } = prepared;

  const sets = await chooseSamples(options, context.environment, graph.file.inputs, context.signal);
  reportSets(context, sets);
  const { calibration, verification } = sets;
  const observation = await observeStage(context, prepared, calibration.source, calibration.listing.sha256);
  const { statistics, observed } = loadObserved(observation.value.statistics, observation.value.histograms);
  for (const warning of statistics.warnings) warn(context, warning);

  const weights = SafetensorsFile.open(captured.weights);
  const layers = collectLayers(graph.file, plan, weights);
  const channels = await channelStage(context, prepared, calibration.source, calibration.listing.sha256);
  const solution = solveActivations(core, plan, observed, channels, options.calibration);
  const refinement = await refineStage(
    context,
    core,
    prepared,
    layers,
    solution,
    calibration.source,
    observation.digest,
  );
  const name = basename(options.model, extname(options.model));
  const applied = await applyStage(
    context,
    core,
    prepared,
    layers,
    refinement.value,
    refinement.digest,
    name,
  );
  const quantized = join(run.stageFolder('apply'), applied.value.model);

  const verified = verification
    ? await verifyStage(context, prepared, quantized, verification.source, verification.listing.names, {
        applied: applied.digest,
        data: verification.listing.sha256,
        source: { ...verification.source, path: '' },
        metric: options.metric,
        labels: options.labels ? await labelsKey(options.labels) : null,
      })
    : null;
  for (const warning of verified?.value.verification.warnings ?? []) warn(context, warning);

  const modelFile = `${name}.int8.onnx`;
  await run.publish(quantized, modelFile);
  await run.write('quant_params.json', json(applied.value.params));
  const files = await run.digests([modelFile, 'quant_params.json']);
  const result: RunResult = {
    version: 1,
    dopt: VERSION,
    model: {
      name,
      source: capture.source,
      opset: capture.opset,
      nodes: graph.nodes.length,
      notes: capture.notes,
      parity: {
        executor: capture.parity.executor,
        samples: capture.parity.samples,
        maxAbsoluteDifference: capture.parity.maxAbsoluteDifference,
        maxRelativeDifference: capture.parity.maxRelativeDifference,
      },
    },
    settings: {
      strategy: options.strategy,
      target: options.target,
      calibration: options.calibration,
      effort: options.effort,
      recipe: options.recipe,
      exclude: options.exclude,
      seed: options.seed,
    },
    data: {
      calibration: sampleSet(calibration, statistics.samples, statistics.skipped),
      verification:
        verification && verified
          ? sampleSet(verification, verified.value.verification.samples, verified.value.skipped)
          : null,
      disjoint: disjoint(sets),
    },
    quantization: {
      activations: plan.activations.length,
      weights: plan.weights.length,
      floatNodes: plan.floatNodes,
    },
    sizes: { float: capture.source.bytes, quantized: files[modelFile]!.bytes },
    verification: verified?.value.verification ?? null,
    stages: run.stages,
    seconds: (performance.now() - started) / 1000,
    peakBytes: Math.max(observation.value.peakBytes, process.resourceUsage().maxRSS * 1024),
    warnings: context.warnings,
    command: [...command],
    versions: versions(context, core),
    files,
  };
  await run.write('report.html', report(result, plan, applied.value.params, statistics, observed));
  result.files = await run.digests([modelFile, 'quant_params.json', 'report.html']);
  await run.write('result.json', json(result));
  const { settings, data, versions: used } = result;
  await run.finish(
    { settings, data, versions: used, source: capture.source, preprocess: options.preprocess },
    result.files,
  );
  return result;
}

async function captureAndPlan(context: StageContext, options: QuantizeOptions) {
  const { run } = context;
  const source = await modelDigest(options.model);
  const { model, inputShapes, outputs, float16ToFloat32, seed } = options;
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
  const { strategy, target, exclude, strict } = options;
  const plan: Plan = planQuantization(graph, { strategy, target, exclude, strict });
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
  const prepared: Prepared = { options, graph, plan, float: capture.model, captured: digest };
  return { capture, prepared, captured: capture };
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

/** Whether no scored sample calibrated: by index within one source, by name between two. */
function disjoint({ calibration, verification }: SampleSets): boolean {
  const names = ({ source, listing }: ChosenSamples): string[] =>
    (source.indices ?? []).map((index) => listing.names[index]!);
  const used = new Set(names(calibration));
  return verification === null || names(verification).every((name) => !used.has(name));
}

function sampleSet(
  { source, listing }: ChosenSamples,
  samples: number,
  skipped: SampleSet['skipped'],
): SampleSet {
  return { path: source.path, sha256: listing.sha256, samples, skipped };
}

function versions({ environment }: StageContext, core: NativeCore): Record<string, string> {
  const { python = '', onnx = '', onnxruntime = '', numpy = '' } = environment.versions;
  return {
    node: process.version,
    python,
    onnx,
    onnxruntime,
    numpy,
    native: core.backend,
    environment: environment.how,
  };
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
