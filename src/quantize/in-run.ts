import { openDevice } from '../bridge/device.js';
import { ensureEnvironment } from '../bridge/environments.js';
import { requireDriver } from '../bridge/gpu.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import { loadNative, type NativeCore } from '../native/index.js';
import { Run } from '../run/run.js';
import { VERSION } from '../version.js';
import type { StageContext } from './context.js';
import type { QuantizeOptions } from './options.js';

export interface QuantizeContext {
  progress?: Progress;
  signal?: AbortSignal;
  /** Command line for the manifest and the report, program name first. */
  command?: readonly string[];
  /** What is already known to be worth a warning in the report. */
  warnings?: readonly string[];
}

/**
 * Opens the run folder of the options, works in it and gives it free. Rejects as `Run.open`, the environment and the
 * work do; after an error the folder can be resumed.
 */
export async function inRun<T>(
  options: QuantizeOptions,
  { progress = silentProgress, signal, command = ['dopt', 'quantize'], warnings = [] }: QuantizeContext,
  work: (context: StageContext, core: NativeCore) => Promise<T>,
): Promise<T> {
  const { model, data, weights, verifyData, parts, resume, threads } = options;
  const inputs = [model, data, weights, verifyData, ...(parts ?? []).map(({ path }) => path)];
  requireDriver(options.gpus?.[0]);
  const run = await Run.open(options.out, {
    resume,
    inputs: inputs.filter((path) => path !== null),
    command,
    version: VERSION,
  });
  try {
    const environment = await ensureEnvironment('onnx', options.environment, {
      onProgress: (line) => progress.note(line),
    });
    const device = await openDevice(options.gpus, options.environment, progress, signal);
    const core = loadNative();
    core.setThreads(threads);
    return await work(
      { run, environment, gpu: null, device, threads, progress, signal, warnings: [...warnings] },
      core,
    );
  } catch (error) {
    await run.abandon(error);
    throw error;
  }
}
