import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureEnvironment } from '../bridge/environments.js';
import { runJob } from '../bridge/jobs.js';
import type { EnvironmentKind } from '../bridge/profiles.js';
import type { RunResult } from '../config/result.js';
import { rewriteSchema } from '../config/rewrite.js';
import type { Framework } from '../doors/detect.js';
import { Bug } from '../errors.js';
import { readJson, readSafetensors, writeSafetensors } from '../graph/safetensors.js';
import { floatRewrite } from './float-model.js';

/**
 * The model of a finished run in its own framework, with weights on the grid: what the original writes to --output.
 * @returns path of the file, inside the run folder
 */
export async function ownFormatModel(
  folder: string,
  framework: Framework,
  result: RunResult,
  options: { environment: EnvironmentKind; threads: number; signal: AbortSignal | undefined },
): Promise<string> {
  if (framework === 'onnx') return floatOnnx(folder, result.model.name, options);
  // NAME.int8.pb beside NAME.int8.onnx
  const written = Object.keys(result.files).find((name) => /\.int(8|16)\.(?!onnx$)/.test(name));
  if (!written) throw new Bug(`the run in ${folder} wrote no ${framework} model`);
  return join(folder, written);
}

/** Writes the captured ONNX model with the weights that the device will use, as float32 and without quantizers. */
async function floatOnnx(
  folder: string,
  name: string,
  {
    environment,
    threads,
    signal,
  }: { environment: EnvironmentKind; threads: number; signal: AbortSignal | undefined },
): Promise<string> {
  const applied = join(folder, 'stages/apply');
  const model = join(folder, 'stages/capture/float.onnx');
  if (!existsSync(model)) throw new Bug(`the run in ${folder} kept no captured model`);
  const { rewrite, parameters } = floatRewrite(
    rewriteSchema.parse(readJson(join(applied, 'rewrite.json'))),
    readSafetensors(join(applied, 'parameters.safetensors')),
  );
  const work = join(folder, 'compat');
  mkdirSync(work, { recursive: true });
  const [edits, tensors, out] = ['rewrite.json', 'parameters.safetensors', `${name}.onnx`].map((file) =>
    join(work, file),
  ) as [string, string, string];
  writeFileSync(edits, JSON.stringify(rewrite));
  writeSafetensors(tensors, parameters);
  await runJob(
    await ensureEnvironment('onnx', environment),
    'rewrite',
    { model, rewrite: edits, parameters: tensors, out, externalDataAbove: null, check: 'load' },
    { threads, logFile: join(folder, 'python.log'), ...(signal ? { signal } : {}) },
  );
  return out;
}
