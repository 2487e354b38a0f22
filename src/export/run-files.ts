import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { type Plan, planSchema } from '../config/plan.js';
import { type QuantParams, quantParamsSchema } from '../config/quant-params.js';
import { type FileDigest, fileDigestSchema, type RunResult, resultSchema } from '../config/result.js';
import { UserError } from '../errors.js';
import { type Graph, loadGraph } from '../graph/graph.js';
import { widthOf } from '../quantize/options.js';
import { fileDigest } from '../run/digest.js';
import { readRunSummary, refuseLlmRun } from '../run/history.js';
import { readRunFile } from '../run/run-file.js';

/** A finished run whose files are as it left them. */
export interface RunFiles {
  folder: string;
  result: RunResult;
  plan: Plan;
  params: QuantParams;
  /** The captured network, and float.onnx with the weights beside it: as captured, or equalized. */
  graph: Graph;
  float: string;
  weights: string;
  /** The run's result: a QDQ model. */
  quantized: FileDigest;
  /** What apply wrote into it: the edits of float.onnx, and integers, scales and zero points by tensor name. */
  rewrite: string;
  parameters: string;
}

/** What of a stage.json matters here: the files that the stage left. */
const stageSchema = z.object({ outputs: z.array(fileDigestSchema) });

/**
 * Opens a run folder for reading and checks what is going to be read against the digests that the run wrote down.
 * @throws UserError RUN_NOT_FOUND, RUN_NOT_FINISHED, RUN_OF_LANGUAGE_MODEL, RUN_FILE, RUN_DAMAGED
 */
export async function openRun(path: string): Promise<RunFiles> {
  const folder = resolve(path);
  const { state } = readRunSummary(folder);
  if (state !== 'finished') {
    throw new UserError('RUN_NOT_FINISHED', `The run in ${folder} is not finished (it is ${state}).`, {
      place: folder,
      suggestions: ['Finish it by repeating its command with --resume.'],
    });
  }
  refuseLlmRun(folder);
  const result = readRunFile(join(folder, 'result.json'), resultSchema);
  const plan = readRunFile(join(folder, 'plan.json'), planSchema);
  const params = readRunFile(join(folder, 'quant_params.json'), quantParamsSchema);
  const model = `${result.model.name}.${widthOf(plan.strategy)}.onnx`;
  const quantized = result.files[model];
  if (!quantized) throw damaged(join(folder, 'result.json'), `it does not list ${model}`);
  for (const file of [quantized, result.files['quant_params.json']]) if (file) await verify(folder, file);
  const [capture, apply] = [join(folder, 'stages/capture'), join(folder, 'stages/apply')];
  const float = floatStage(folder, result);
  await verifyStage(capture, ['graph.json']);
  await verifyStage(float, ['float.onnx', 'weights.safetensors']);
  await verifyStage(apply, ['parameters.safetensors', 'rewrite.json']);
  return {
    folder,
    result,
    plan,
    params,
    graph: await loadGraph(join(capture, 'graph.json')),
    float: join(float, 'float.onnx'),
    weights: join(float, 'weights.safetensors'),
    quantized: { ...quantized, path: join(folder, model) },
    rewrite: join(apply, 'rewrite.json'),
    parameters: join(apply, 'parameters.safetensors'),
  };
}

/** The stage whose float model was quantized: equalization where it changed something. */
function floatStage(folder: string, { stages }: RunResult): string {
  const equalize = join(folder, 'stages/equalize');
  const ran = stages.some(({ name }) => name === 'equalize');
  const changed =
    ran &&
    readRunFile(join(equalize, 'stage.json'), stageSchema).outputs.some(({ path }) => path === 'float.onnx');
  return changed ? equalize : join(folder, 'stages/capture');
}

async function verifyStage(folder: string, names: readonly string[]): Promise<void> {
  const { outputs } = readRunFile(join(folder, 'stage.json'), stageSchema);
  for (const name of names) {
    const file = outputs.find((output) => output.path === name);
    if (!file) throw damaged(join(folder, 'stage.json'), `it does not list ${name}`);
    await verify(folder, file);
  }
}

async function verify(folder: string, expected: FileDigest): Promise<void> {
  const path = join(folder, expected.path);
  if (!existsSync(path)) throw damaged(path, 'it is missing');
  const found = await fileDigest(path);
  if (found.sha256 !== expected.sha256) {
    throw damaged(
      path,
      `it is not the file that the run wrote (${found.bytes} bytes, then ${expected.bytes})`,
    );
  }
}

const REPAIR = 'Repeat the command of the run with --resume: what is missing or changed is made again.';

const damaged = (path: string, why: string): UserError =>
  new UserError('RUN_DAMAGED', `${path} cannot be used: ${why}.`, { place: path, suggestions: [REPAIR] });
