import { extname } from 'node:path';
import type { Metric } from '../config/metric.js';
import type { PrecisionSearch } from '../config/precision.js';
import type { RunResult } from '../config/result.js';
import type { Tuning } from '../config/tuning.js';
import type { DoorResult } from '../config/verification.js';
import { goBack } from '../doors/go-back.js';
import type { NativeCore } from '../native/index.js';
import { missedWhenScored } from '../precision/goal.js';
import { renderReport, reportInput } from '../report/report.js';
import { fileDigest, pathDigest } from '../run/digest.js';
import { targetProfile, targetsWithInt16 } from '../target/profiles.js';
import type { NarrowInput } from './algorithms/narrow-inputs.js';
import { type StageContext, warn } from './context.js';
import type { OpenedModel } from './open.js';
import { widthOf } from './options.js';
import type { Calibrated, Quantized } from './pass.js';
import { assembleResult } from './result.js';
import { solveLayers } from './solve.js';
import { labelsOf, type Prepared, type Scoring, verifyStage } from './stages.js';

/** What a run has come to before its last stages. */
export interface RunToFinish {
  opened: OpenedModel;
  calibrated: Calibrated;
  quantized: Quantized;
  /** null where no tensors were looked for that must be wider. */
  search: PrecisionSearch | null;
  /** null where no settings were compared. */
  tuning: Tuning | null;
  /** `performance.now()` at its beginning. */
  started: number;
  command: readonly string[];
}

/**
 * The last stages: scores the quantized model, writes it back into its own format, publishes results, parameters and
 * report under their names, and marks the run as finished.
 */
export async function finishRun(
  context: StageContext,
  core: NativeCore,
  { opened, calibrated, quantized, search, tuning, started, command }: RunToFinish,
): Promise<RunResult> {
  const { run } = context;
  const { capture, door, sets, equalization } = opened;
  const { prepared, params } = quantized;
  const { name, plan, options } = prepared;
  await run.write('plan.json', json(plan));
  for (const narrow of quantized.refinement.narrow) warn(context, tooNarrow(narrow, prepared));
  for (const wide of quantized.widened) warn(context, madeWide(wide));

  const scoring = await scoringOf(opened, quantized);
  const verified = scoring && (await verifyStage(context, prepared, quantized.path, scoring));
  for (const warning of verified?.value.verification.warnings ?? []) warn(context, warning);
  const missed = search && verified && missedWhenScored(search, verified.value.verification);
  if (missed) warn(context, missed);

  const results = { [`${name}.${widthOf(plan.strategy)}.onnx`]: quantized.path };
  const doorResult = await writeBack(context, core, opened, quantized, scoring, results);
  for (const [file, path] of Object.entries(results)) await run.publish(path, file);
  await run.write('quant_params.json', json(params));
  const files = await run.digests([...Object.keys(results), 'quant_params.json']);
  const { statistics, observed } = calibrated;
  const result = assembleResult({
    options,
    context,
    core,
    capture,
    door,
    doorResult,
    prepared,
    equalization,
    sets,
    statistics,
    verified: verified?.value ?? null,
    search,
    tuning,
    quantizedBytes: Object.values(files)[0]!.bytes,
    seconds: (performance.now() - started) / 1000,
    command,
    files,
  });
  const counts = (tensor: string): BigUint64Array | undefined => observed.get(tensor)?.histogram.counts;
  await run.write('report.html', renderReport(reportInput({ result, plan, params, statistics, counts })));
  result.files = await run.digests([...Object.keys(files), 'report.html']);
  await run.write('result.json', json(result));
  const { settings, data, versions, model } = result;
  await run.finish(
    {
      settings,
      data,
      sources: { calibration: sets.calibration.source, verification: sets.verification?.source ?? null },
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

const keptOf = ({ input, layer, sqnr }: NarrowInput): string =>
  `8 bits keep ${sqnr.toFixed(0)} dB of what ${layer} computes from the input ${input}, of a picture about 40: a few large ` +
  'values stretch its grid.';

/** What the user should know of an input that 8 bits are too few for, and that has no more. */
function tooNarrow(narrow: NarrowInput, { options }: Prepared): string {
  const where = targetProfile(options.target).int16Activations
    ? ''
    : ` on one of ${targetsWithInt16().join(', ')}`;
  const search = options.labels ? '; --max-drop finds out whether the metric needs it' : '';
  return `${keptOf(narrow)} --int16 "${narrow.input}" gives it 16 bits${where}${search}.`;
}

/** The same where it got them: the model holds int16, which the user did not ask for. */
const madeWide = (narrow: NarrowInput): string =>
  `${keptOf(narrow)} It has 16 bits, for which onnxruntime must be 1.17 or newer; --without wide-inputs leaves it 8.`;

/** What scores the quantized model; null when no sample could be kept back. */
async function scoringOf(
  { capture, sets: { verification }, prepared: { options }, metricContext }: OpenedModel,
  { digest }: Quantized,
): Promise<Scoring | null> {
  return (
    verification && {
      reference: capture.model,
      source: verification.source,
      names: verification.listing.names,
      metricContext,
      key: {
        applied: digest,
        data: verification.listing.sha256,
        source: { ...verification.source, path: '' },
        metric: options.metric && (await metricKey(options.metric)),
        labels: options.labels ? await labelsKey(options.labels) : null,
      },
    }
  );
}

/** What identifies a metric: its settings, and the digest of a file of the user's. */
async function metricKey(metric: Metric): Promise<unknown> {
  return metric.kind === 'user' ? { ...metric, sha256: (await fileDigest(metric.file)).sha256 } : metric;
}

/** What identifies labels: what lies in the file or folder. A path that is not there is an error where they are read. */
const labelsKey = (path: string): Promise<string> => pathDigest(path).catch(() => path);

/**
 * Carries the quantization into the format that the model came in, and adds the files to `results` by the names they get;
 * null for a model that came as ONNX.
 */
async function writeBack(
  context: StageContext,
  core: NativeCore,
  { capture, door, parity }: OpenedModel,
  { prepared, layers, refinement, path, digest }: Quantized,
  scoring: Scoring | null,
  results: Record<string, string>,
): Promise<DoorResult | null> {
  if (!door) return null;
  const { name, graph, plan, options } = prepared;
  const solved = solveLayers(core, layers, refinement);
  const back = await goBack(context, {
    door,
    parity: parity!,
    quantization: { graph: graph.file, plan, layers, solved, activations: refinement.activations },
    float: capture.model,
    quantized: path,
    applied: digest,
    scoring,
    metric: options.metric,
    labelsOf: (samples) => labelsOf(options, samples, scoring?.names ?? []),
  });
  if (back.files) {
    const { plain, checked } = back.files;
    const extension = extname(plain);
    results[`${name}.${widthOf(plan.strategy)}${extension}`] = plain;
    if (options.fakeQuant && checked !== plain) results[`${name}.fake-quant${extension}`] = checked;
  }
  return back.result;
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
