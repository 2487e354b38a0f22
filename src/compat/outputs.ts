import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { EnvironmentKind } from '../bridge/profiles.js';
import type { RunResult } from '../config/result.js';
import type { Framework } from '../doors/detect.js';
import { Bug, ExternalError } from '../errors.js';
import { exportRun } from '../export/export.js';

/**
 * The model of a finished run in its own framework, with weights on the grid: what the original writes to --output.
 * @returns path of the file, inside the run folder
 * @throws ExternalError WRITE_BACK when the framework's form of the network has no place for the quantization
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
  if (written) return join(folder, written);
  const { unwritten } = result.door ?? {};
  if (!unwritten) throw new Bug(`the run in ${folder} wrote no ${framework} model`);
  throw new ExternalError('WRITE_BACK', unwritten, {
    place: result.model.source.path,
    suggestions: [
      `The quantized ONNX model and the report are in ${folder}.`,
      'Leave the layer that the message names in float: exclude_op.',
    ],
  });
}

/** Writes the captured ONNX model with the weights that the device will use, as float32 and without quantizers. */
async function floatOnnx(
  folder: string,
  name: string,
  { environment, signal }: { environment: EnvironmentKind; signal: AbortSignal | undefined },
): Promise<string> {
  const work = join(folder, 'compat');
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work);
  const out = join(work, `${name}.onnx`);
  await exportRun({ run: folder, format: 'float-onnx', out, environment, ...(signal ? { signal } : {}) });
  return out;
}
