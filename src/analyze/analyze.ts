import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevice } from '../bridge/device.js';
import { ensureEnvironment } from '../bridge/environments.js';
import type { EnvironmentKind } from '../bridge/profiles.js';
import { progressJob, type RunJob } from '../bridge/progress-job.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import { ANALYSIS, type Analysis } from '../config/analysis.js';
import { openRun, type RunFiles } from '../export/run-files.js';
import { SafetensorsFile, writeSafetensors } from '../graph/safetensors.js';
import { loadNative } from '../native/index.js';
import { REPORT, readRun } from '../report/from-run.js';
import { renderReport } from '../report/report.js';
import { writeFileAtomic } from '../run/atomic.js';
import { VERSION } from '../version.js';
import { assemble } from './assemble.js';
import { type Bench, chooseProbeSamples, measure, readApplied, writeVariant } from './bench.js';
import { calibrationSource } from './calibration-source.js';
import { channelAxisOf, readProfile, type TensorProfile } from './distributions.js';
import { findings } from './findings.js';
import { withFloatWeights, withoutQuantizers } from './instrument.js';
import { blamed, soloProbes } from './solo.js';
import { readSubject } from './subject.js';
import { remedyTrials } from './trials.js';

export interface AnalyzeOptions {
  /** Folder of a finished run. */
  run: string;
  /** Samples that errors are measured on, and over which distributions are gathered, at most. */
  samples: number;
  profiled: number;
  /** How many quantizers remedies are tried for, those to blame most. */
  remedies: number;
  threads: number;
  /** Index of the GPU that runs networks; null for the processor. */
  gpus: readonly number[] | null;
  environment: EnvironmentKind;
}

export interface AnalyzeContext {
  progress?: Progress;
  signal?: AbortSignal;
}

/**
 * Measures what each quantizer of a finished run does, tries what would help those that do most, and gathers how values
 * are distributed. Writes analysis.json into the run folder, and its report anew.
 *
 * Each quantizer is judged alone, by running the network behind it with everything else in float, and by what has come
 * together up to it. Memory does not depend on the number of samples.
 *
 * Rejects as `openRun` and `calibrationSource` do, and with what Python reports.
 */
export async function analyzeRun(options: AnalyzeOptions, context: AnalyzeContext = {}): Promise<Analysis> {
  const started = performance.now();
  const { threads } = options;
  const progress = context.progress ?? silentProgress;
  const run = await openRun(options.run);
  const environment = await ensureEnvironment('onnx', options.environment, {
    onProgress: (line) => progress.note(line),
  });
  const device = await openDevice(options.gpus, options.environment, progress, context.signal);
  const job = progressJob(environment, threads, progress, context.signal, device);
  const calibration = await calibrationSource(run, job);
  const profiled = { ...calibration.source, indices: calibration.spread(options.profiled) };
  const folder = mkdtempSync(join(tmpdir(), 'dopt-analyze-'));
  try {
    const found = await examine({ job, folder, float: run.float, source: profiled, threads }, run, options);
    const { chosen, samples, outputs, quantizers, peakBytes } = found;
    const analysis: Analysis = {
      version: 1,
      dopt: VERSION,
      model: run.result.model.name,
      target: run.plan.target,
      strategy: run.plan.strategy,
      data: {
        path: calibration.source.path,
        samples: chosen.slice(0, samples).map((at) => calibration.names[profiled.indices[at]!]!),
        profiled: profiled.indices.length,
      },
      outputs,
      quantizers,
      findings: findings(quantizers),
      seconds: (performance.now() - started) / 1000,
      peakBytes,
    };
    await writeFileAtomic(join(run.folder, ANALYSIS), `${JSON.stringify(analysis, null, 1)}\n`);
    await writeFileAtomic(join(run.folder, REPORT), renderReport(readRun(run.folder)));
    return analysis;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function examine(all: Bench, run: RunFiles, options: AnalyzeOptions) {
  const core = loadNative();
  const subject = readSubject(core, run);
  const applied = readApplied(run.rewrite, run.parameters);
  const quantized = await writeVariant(all, 'quantized', applied);
  const { source, chosen, errors } = await chooseProbeSamples(all, quantized, options.samples);
  const bench: Bench = { ...all, source };

  const values = join(all.folder, 'weights.safetensors');
  writeSafetensors(values, subject.weights);
  const plain = {
    model: await writeVariant(
      all,
      'float',
      withFloatWeights(
        withoutQuantizers(applied, () => true),
        subject.layers,
      ),
    ),
    exact: false,
    values,
  };
  const solo = await measure(bench, 'each quantizer alone', {
    ...plain,
    quantized,
    probes: soloProbes(run, subject),
  });
  const profiles = await profileTensors(all.job, all, run);
  const names = blamed(solo, options.remedies);
  const trials = remedyTrials(core, run, subject, profiles, names);
  const probes = trials.map(({ probe }) => probe);
  const tried =
    probes.length > 0 ? await measure(bench, 'what would help', { ...plain, quantized: null, probes }) : null;
  const { samples, peakBytes } = solo;
  return {
    ...assemble(core, run, subject, {
      ...{ solo, profiles, trials, tried, blamed: names },
      errors: errors.slice(0, samples),
    }),
    chosen,
    samples,
    peakBytes,
  };
}

/** How the values of every quantized activation lie. */
async function profileTensors(
  job: RunJob,
  { folder, source, threads }: Bench,
  { float, graph, plan }: RunFiles,
): Promise<Map<string, TensorProfile>> {
  const tensors = plan.activations.map(({ tensor }) => ({ tensor, axis: channelAxisOf(graph, tensor) }));
  if (tensors.length === 0) return new Map();
  const params = { model: float, tensors, source, out: folder, threads };
  const { profile } = await job('distributions', 'profile', params, ({ samples }) => `${samples} samples`);
  const file = SafetensorsFile.open(profile);
  return new Map(
    tensors.flatMap(({ tensor }) => {
      const found = readProfile(file, tensor);
      return found ? [[tensor, found] as const] : [];
    }),
  );
}
