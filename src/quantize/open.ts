import { basename, extname } from 'node:path';
import type { Result } from '../bridge/protocol.js';
import type { Equalization } from '../config/result.js';
import type { Parity } from '../config/verification.js';
import { checkParity, type Door, inFramework, openDoor, withFeatures } from '../doors/convert.js';
import { UserError } from '../errors.js';
import { type Graph, loadGraph } from '../graph/graph.js';
import { plural } from '../report/format.js';
import { fileDigest } from '../run/digest.js';
import { checkUserMetric } from '../verify/user-metric.js';
import { VERSION } from '../version.js';
import { metricJob, type StageContext, stageJob, warn } from './context.js';
import { chooseSamples, type SampleSets } from './data.js';
import type { QuantizeOptions } from './options.js';
import { planQuantization } from './plan.js';
import type { Prepared } from './stages.js';

/** A model ready to be calibrated: captured, planned, its samples chosen. */
export interface OpenedModel {
  door: Door | null;
  /** Where a metric of the user's runs: in the model's own framework, where there is one. */
  metricContext: StageContext;
  capture: Result<'capture'>;
  prepared: Prepared;
  sets: SampleSets;
  /** What was done to the float model since it was captured; null for nothing. */
  equalization: Equalization | null;
  /** The ONNX form against the framework on calibration samples; null for a model that came as ONNX. */
  parity: Parity | null;
}

/** Captures and plans a model, and chooses its samples. Rejects as capture, `planQuantization` and `chooseSamples` do. */
export async function openModel(context: StageContext, options: QuantizeOptions): Promise<OpenedModel> {
  const door = await openDoor(context, options);
  const metricContext = door ? inFramework(context, door) : context;
  if (options.metric?.kind === 'user') await checkUserMetric(options.metric, metricJob(metricContext));
  const { capture, prepared } = await captureAndPlan(context, options, door);
  const sets = await chooseSamples(
    await withFeatures(context, door, options),
    context.environment,
    prepared.graph.file.inputs,
    context.signal,
  );
  reportSets(context, sets);
  const { source, listing } = sets.calibration;
  const parity = door && (await checkParity(context, door, source, listing.sha256));
  return { door, metricContext, capture, prepared, sets, equalization: null, parity };
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
  const name = modelName(options.model);
  const prepared = preparedWith(
    { name, graph, float: capture.model, weights: capture.weights, captured: digest },
    options,
  );
  const { plan } = prepared;
  if (plan.weights.length === 0 && plan.activations.length === 0) {
    throw new UserError('NOTHING_TO_QUANTIZE', `${model} has no operator that could be quantized.`, {
      place: model,
      found: [...new Set(plan.floatNodes.map((node) => node.op))].join(', '),
      suggestions: ['See why with: dopt inspect MODEL', 'Give fewer exclusions, if there are any.'],
    });
  }
  const { activations, weights, floatNodes } = plan;
  context.progress.note(
    `plan: ${plural(weights.length, 'layer')}, ${plural(activations.length, 'quantizer')}, left in float: ${plural(floatNodes.length, 'operator')}`,
  );
  return { capture, prepared };
}

/** A captured model with the plan that options ask for. */
export function preparedWith(
  captured: Omit<Prepared, 'options' | 'plan'>,
  options: QuantizeOptions,
): Prepared {
  const plan = planQuantization(captured.graph, { ...options, fuse: options.engine.fusedActivations });
  return { ...captured, options, plan };
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

function reportSets(context: StageContext, { calibration, verification }: SampleSets): void {
  const count = calibration.source.indices!.length;
  context.progress.note(
    `data: ${count} samples calibrate, ${verification ? `${verification.source.indices!.length} others score` : 'none is left to score'}`,
  );
  if (!verification)
    warn(
      context,
      'There is no sample left to score with, since all of them calibrate: the accuracy of the result was not measured.',
    );
  if (count < 16) warn(context, `Only ${count} calibration samples: give about 100 for stable ranges.`);
}
