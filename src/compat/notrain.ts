import { join } from 'node:path';
import { type Progress, silentProgress } from '../cli/progress.js';
import type { Delivered } from '../config/delivered.js';
import type { RunResult } from '../config/result.js';
import type { Framework } from '../doors/detect.js';
import { UserError } from '../errors.js';
import { engineFor } from '../quantize/engine.js';
import type { QuantizeOptions } from '../quantize/options.js';
import { quantize } from '../quantize/quantize.js';
import { DEFAULT_TARGET } from '../target/profiles.js';
import { type NotrainConfig, readNotrainConfig } from './config.js';
import { deliver, refuseForeignFiles } from './delivery.js';
import { type InputParts, inputParts } from './input-parts.js';
import { ownFormatModel } from './outputs.js';
import { checkRequest, type NotrainRequest } from './request.js';

/** Calibration samples used at most: what `dopt quantize` takes. */
const SAMPLES = 200;

export interface NotrainResult {
  /** The model at --output and the parameters at --compress_conf. */
  files: Delivered['files'];
  /** Run folder beside --output: report, QDQ model, everything that was measured. */
  run: string;
  result: RunResult;
}

export interface NotrainContext {
  progress?: Progress;
  signal?: AbortSignal;
  /** Command line for the manifest, program name first. */
  command?: readonly string[];
}

/** Run folder of a result: beside it, under its name. */
export const runFolder = (output: string): string => `${output}.dopt`;

/**
 * Quantizes without training as the original's command line does: reads config.prototxt, runs `quantize` in a folder
 * beside --output, and writes the model in its own format and the open parameter file where they were asked for. The same
 * command again takes over what the first one left.
 *
 * Rejects with UserError PROTOTXT_INVALID, COMPAT_*, and all that `quantize` rejects with; nothing is written before
 * everything that can be checked was checked.
 */
export async function quantizeNotrain(
  request: NotrainRequest,
  context: NotrainContext = {},
): Promise<NotrainResult> {
  const framework = checkRequest(request);
  const config = await readNotrainConfig(request.calConf);
  const layout = request.inputFormat ?? (framework === 'tensorflow' ? 'nhwc' : 'nchw');
  const inputs = inputParts(config, request.inputShape, layout, process.cwd());
  const run = runFolder(request.output);
  await refuseForeignFiles([request.output, request.compressConf], run, request.overwrite);

  const warnings = [...config.warnings, ...inputs.warnings, ...deviceWarning(config, request)];
  const progress = context.progress ?? silentProgress;
  for (const warning of warnings) progress.warn(warning);
  const { signal, command = ['dopt', 'compat', 'notrain'] } = context;
  const result = await quantize(quantizeOptions(request, framework, config, inputs), {
    progress,
    command,
    warnings,
    ...(signal ? { signal } : {}),
  }).catch((error: unknown) => {
    throw placed(error, config);
  });
  const { environment, threads } = request;
  const model = await ownFormatModel(run, framework, result, { environment, threads, signal });
  const files = await deliver(
    [
      { from: model, to: request.output },
      { from: join(run, 'quant_params.json'), to: request.compressConf },
    ],
    run,
  );
  return { files, run, result };
}

/** The request in the terms of `dopt quantize`. Pure. */
export function quantizeOptions(
  request: NotrainRequest,
  framework: Framework,
  config: NotrainConfig,
  { parts, shapes }: InputParts,
): QuantizeOptions {
  return {
    model: request.model,
    framework,
    weights: request.weight,
    className: request.className,
    trustCode: false,
    profile: request.profile,
    fakeQuant: false,
    out: runFolder(request.output),
    data: parts[0]!.path,
    verifyData: null,
    parts,
    labels: null,
    preprocess: parts[0]!.preprocess,
    metric: null,
    inputShapes: Object.fromEntries(shapes.map(({ name, dims }) => [name, dims])),
    outputs: request.outNodes,
    strategy: config.strategy,
    target: DEFAULT_TARGET,
    weightsGranularity: 'channel',
    calibration: 'auto',
    effort: 'balanced',
    // What the original calls INT8 has 8 bits throughout, and its converter is told so.
    engine: engineFor('balanced', ['wideInputs']),
    samples: SAMPLES,
    verifySamples: null,
    exclude: config.exclude.map(({ name }) => name),
    strict: false,
    skipBad: false,
    float16ToFloat32: false,
    seed: 0,
    threads: request.threads,
    environment: request.environment,
    resume: true,
    recipe: null,
  };
}

function deviceWarning({ device }: NotrainConfig, { deviceIdx }: NotrainRequest): string[] {
  if (device === 'cpu' && (deviceIdx ?? 0) === 0) return [];
  const asked = device === 'gpu' ? 'USE_GPU' : `--device_idx ${deviceIdx}`;
  return [`${asked} changes nothing here: calibration runs on the processor, and the result is the same.`];
}

/** An unknown name in exclude_op at its place in the config; other errors as they are. */
function placed(error: unknown, { exclude, file }: NotrainConfig): unknown {
  if (!(error instanceof UserError) || error.code !== 'EXCLUDE_UNKNOWN') return error;
  const unknown = (error.found ?? '').split(', ');
  const entry = exclude.find(({ name }) => unknown.includes(name));
  const place = entry?.place ?? file;
  const names = unknown.map((name) => `"${name}"`).join(', ');
  return new UserError(
    error.code,
    `${place} exclude_op ${names} matches no node, weight or tensor of the model.`,
    { place, found: unknown.join(', '), suggestions: error.suggestions, cause: error },
  );
}
