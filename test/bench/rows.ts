import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { childEnvironment } from '../../src/bridge/child-environment.js';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import { type RunResult, resultSchema } from '../../src/config/result.js';
import type { Verification } from '../../src/config/verification.js';
import { DoptError } from '../../src/errors.js';
import { writeFileAtomic } from '../../src/run/atomic.js';
import { verifyModels } from '../../src/verify/verify.js';
import { type FloatModel, floatModel } from './float-model.js';
import type { BenchModel } from './models.js';
import { type Peer, peerPython, type RunSettings, runPeer } from './peers.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const HERE = fileURLToPath(new URL('.', import.meta.url));

/** What a quantized model computes in integers: the answer of peers/scope.py. */
export interface Scope {
  layers: number;
  inputs: number;
  weights: number;
  channels: number;
  others: number;
  float: number;
  outputs: number;
}

/** One tool on one network. */
export interface Row {
  tool: string;
  measured: {
    verification: Verification;
    scope: Scope;
    seconds: number;
    peakBytes: number;
    /** Of the tool. */
    version: string;
  } | null;
  /** Why nothing was measured. */
  failure: string | null;
}

/** A row that is not there, and may not be made. */
export const NOT_MEASURED = 'not measured';

/** Computes a JSON value once and keeps it. */
async function once<T>(file: string, make: () => Promise<T>): Promise<T> {
  if (!existsSync(file)) await writeFileAtomic(file, `${JSON.stringify(await make())}\n`);
  return JSON.parse(readFileSync(file, 'utf8')) as T;
}

/** Stages that a tool which starts from ONNX and ends with it has no counterpart for, and verification. */
const NOT_TIMED = new Set(['verify', 'convert', 'parity', 'write-back', 'check-framework']);

/**
 * dopt with further flags, by the built command; the run lies in `folder`/dopt/VARIANT, and an interrupted one goes on.
 * Remove that folder to measure anew. Without settings nothing is run. `like` names a variant that ran before: stages which
 * these flags do not change are taken over from it, by their keys, as `--resume` does.
 */
export async function ourRow(
  model: BenchModel,
  folder: string,
  variant: string,
  flags: readonly string[],
  settings: RunSettings | null,
  like: string | null = null,
): Promise<Row> {
  const tool = `**dopt** ${variant}`;
  const out = join(folder, 'dopt', variant);
  const file = join(out, 'result.json');
  if (!existsSync(file)) {
    if (!settings) return failed(tool, NOT_MEASURED);
    if (like !== null) takeOver(join(folder, 'dopt', like), out);
    const resume = existsSync(out) ? ['--resume'] : [];
    const args = ['quantize', ...model.args, ...flags, '--out', out, ...resume];
    const child = await execa(process.execPath, [join(ROOT, 'bin/run.js'), ...args], {
      stdin: 'ignore',
      timeout: settings.seconds * 1000,
      reject: false,
    });
    const error = child.stderr.split('\n').find((line) => line.startsWith('Error:'));
    if (child.failed) return failed(tool, error ?? child.shortMessage!);
  }
  const parsed = resultSchema.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  if (!parsed.success) return failed(tool, `by another version of dopt: remove ${out}`);
  const result: RunResult = parsed.data;
  const timed = result.stages.filter(({ name }) => !NOT_TIMED.has(name) && !name.startsWith('features'));
  const quantized = join(out, Object.values(result.files)[0]!.path);
  return {
    tool,
    failure: null,
    measured: {
      verification: result.verification!,
      scope: await scopeOf(quantized),
      seconds: timed.reduce((sum, { seconds }) => sum + seconds, 0),
      peakBytes: result.peakBytes ?? 0,
      version: result.dopt,
    },
  };
}

/** Begins a run with the stages of another one that is done. */
function takeOver(from: string, out: string): void {
  if (existsSync(out) || !existsSync(join(from, 'result.json'))) return;
  mkdirSync(out, { recursive: true });
  for (const name of ['manifest.json', 'stages'])
    cpSync(join(from, name), join(out, name), { recursive: true });
}

/**
 * A peer in one of its configurations, scored as dopt's runs are. The row is kept in `folder`/peers, a failure as well:
 * remove its file to try again. Without settings nothing is run.
 */
export async function peerRow(
  model: BenchModel,
  folder: string,
  peer: Peer,
  config: string,
  settings: RunSettings | null,
): Promise<Row> {
  const place = join(folder, 'peers');
  mkdirSync(place, { recursive: true });
  const name = `${peer.name}.${config}`;
  const file = join(place, `${name}.json`);
  if (!settings && !existsSync(file)) return failed(`${peer.name} ${config}`, NOT_MEASURED);
  return once(file, async (): Promise<Row> => {
    const float = await floatModel(model, folder);
    const all = float.calibration.length;
    const count = peer.histograms?.includes(config) ? Math.min(model.histogramSamples, all) : all;
    const tool = `${peer.name} ${config}${count < all ? ` (${count} samples)` : ''}`;
    const samples = join(place, `samples-${count}.json`);
    await writeFileAtomic(samples, JSON.stringify({ samples: float.calibration.slice(0, count) }));
    const out = join(place, `${name}.onnx`);
    const files = { model: float.path, samples, out, log: join(place, `${name}.log`) };
    try {
      rmSync(out, { force: true });
      const python = await peerPython(peer, settings!.environments);
      const run = await runPeer(python, peer, config, files, settings!);
      const measured = { verification: await score(float, out), scope: await scopeOf(out), ...run };
      return { tool, failure: null, measured };
    } catch (error) {
      if (error instanceof DoptError && error.code === 'VERIFY_RUN' && error.place === out)
        return failed(tool, 'its model cannot be run by onnxruntime');
      // A defect of the measuring program is not the peer's failure, and not kept as one.
      if (error instanceof DoptError && error.kind !== 'user') throw error;
      return failed(tool, (error as Error).message.split('\n')[0]!);
    }
  });
}

const failed = (tool: string, failure: string): Row => ({ tool, measured: null, failure });

/** A model beside the float one on all scored samples, by onnxruntime-node without graph optimizations. */
export function score(
  { options, path, scored, labels }: FloatModel,
  quantized: string,
): Promise<Verification> {
  return verifyModels({
    float: path,
    quantized,
    samples: scored,
    tensors: null,
    metric: options.metric,
    labels,
    preprocess: options.preprocess,
    optimization: 'disabled',
    threads: availableParallelism(),
  });
}

async function scopeOf(quantized: string): Promise<Scope> {
  const { python } = await ensureEnvironment('onnx');
  const text = execFileSync(python, ['-m', 'peers.scope', quantized], {
    cwd: HERE,
    env: childEnvironment({ extra: { PYTHONPATH: HERE, PYTHONDONTWRITEBYTECODE: '1' } }),
    encoding: 'utf8',
  });
  return JSON.parse(text) as Scope;
}
