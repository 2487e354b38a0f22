/**
 * Accuracy of dopt beside onnxruntime's quantize_static on the test assets: the table of docs/benchmarks.md.
 *
 *   python test/bench/prepare_assets.py ASSETS DATA        (needs numpy and pillow)
 *   tsx test/bench/accuracy.ts ASSETS DATA WORK PYTHON [MODEL …]
 *
 * PYTHON is an interpreter with the onnx and onnxruntime to compare with. What is in WORK is not made again, so a
 * stopped run goes on. Both tools calibrate on the same samples and are scored by the same code on others.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import { runJob } from '../../src/bridge/jobs.js';
import type { Result } from '../../src/bridge/protocol.js';
import { streamProgress } from '../../src/cli/progress.js';
import { toNumber } from '../../src/config/common.js';
import type { RunResult } from '../../src/config/result.js';
import type { Verification } from '../../src/config/verification.js';
import { loadGraph } from '../../src/graph/graph.js';
import { engineFor } from '../../src/quantize/engine.js';
import { quantize } from '../../src/quantize/quantize.js';
import { DEFAULT_TARGET } from '../../src/target/profiles.js';
import { readLabels } from '../../src/verify/labels.js';
import { verifyModels } from '../../src/verify/verify.js';
import { type BenchModel, MODELS, modelPath } from './models.js';

const BASELINE = fileURLToPath(new URL('onnxruntime_baseline.py', import.meta.url));
const PEERS = [
  'defaults',
  ...['minmax', 'entropy', 'percentile'].flatMap((method) =>
    ['weighted', 'inputs'].map((scope) => `${method}-${scope}`),
  ),
];

interface Row {
  tool: string;
  verification: Verification | null;
  seconds: number;
  peakBytes: number | null;
  failure?: string;
}

const [assets, data, work, python, ...names] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  ...string[],
];

/** Computes a JSON value once and keeps it in WORK. */
async function once<T>(file: string, make: () => Promise<T>): Promise<T> {
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as T;
  const value = await make();
  writeFileSync(file, JSON.stringify(value));
  return value;
}

async function ours(model: BenchModel, target: string): Promise<RunResult> {
  const out = join(work, model.name, `dopt-${target}`);
  if (existsSync(join(out, 'result.json')))
    return JSON.parse(readFileSync(join(out, 'result.json'), 'utf8')) as RunResult;
  return quantize(
    {
      model: modelPath(assets, model),
      out,
      data: join(data, model.calibration),
      verifyData: join(data, model.test),
      labels: model.labels && join(data, model.labels),
      preprocess: model.preprocess,
      metric: model.metric,
      inputShapes: {},
      outputs: null,
      framework: 'onnx',
      weights: null,
      className: null,
      profile: null,
      fakeQuant: false,
      parts: null,
      strategy: 'int8-8',
      target,
      weightsGranularity: 'channel',
      calibration: 'auto',
      effort: 'balanced',
      engine: engineFor('balanced'),
      samples: 200,
      verifySamples: null,
      exclude: [],
      strict: false,
      skipBad: false,
      float16ToFloat32: false,
      seed: 0,
      threads: availableParallelism(),
      environment: 'venv',
      resume: existsSync(out),
      recipe: null,
    },
    { progress: streamProgress(process.stderr) },
  );
}

async function materialized(model: BenchModel, part: 'calibration' | 'test'): Promise<Result<'materialize'>> {
  const folder = join(work, model.name, part);
  mkdirSync(folder, { recursive: true });
  return once(`${folder}.json`, async () => {
    const environment = await ensureEnvironment('onnx');
    const { inputs } = (
      await loadGraph(join(work, model.name, `dopt-${DEFAULT_TARGET}`, 'stages/capture/graph.json'))
    ).file;
    const source = {
      path: join(data, model[part]),
      preprocess: model.preprocess,
      inputs,
      indices: null,
      skipBad: false,
    };
    return runJob(environment, 'materialize', { source, out: folder });
  });
}

/** onnxruntime with one of its configurations, scored as ours is. */
async function peer(model: BenchModel, config: string): Promise<Row> {
  const out = join(work, model.name, `${config}.onnx`);
  const histogram = config.startsWith('entropy') || config.startsWith('percentile');
  return once(join(work, model.name, `${config}.json`), async (): Promise<Row> => {
    const calibration = await materialized(model, 'calibration');
    const samples = histogram
      ? calibration.samples.slice(0, model.peerHistogramSamples)
      : calibration.samples;
    const file = join(work, model.name, `samples-${samples.length}.json`);
    writeFileSync(file, JSON.stringify({ samples }));
    const tool = `onnxruntime ${config}${samples.length < calibration.samples.length ? ` (${samples.length} samples)` : ''}`;
    let answer: { seconds: number; peakBytes: number };
    try {
      const text = execFileSync(python, [BASELINE, modelPath(assets, model), file, config, out], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      answer = JSON.parse(text.slice(text.lastIndexOf('{'))) as typeof answer;
      const test = await materialized(model, 'test');
      const labels =
        model.labels && model.metric
          ? await readLabels(
              join(data, model.labels),
              model.metric,
              test.samples.map(({ name }, index) => ({ name, index })),
            )
          : null;
      const verification = await verifyModels({
        float: modelPath(assets, model),
        quantized: out,
        samples: test.samples,
        tensors: null,
        metric: model.metric,
        labels,
        preprocess: model.preprocess,
        optimization: 'disabled',
        threads: availableParallelism(),
      });
      return { tool, verification, ...answer };
    } catch (error) {
      return {
        tool,
        verification: null,
        seconds: 0,
        peakBytes: null,
        failure: (error as Error).message.split('\n')[0]!,
      };
    }
  });
}

function line({ tool, verification, seconds, peakBytes, failure }: Row): string {
  if (!verification) return `| ${tool} | failed: ${failure} | | | | |`;
  const score = verification.task?.scores[0];
  const metric = score ? `${score.float?.toFixed(1) ?? ''} → ${score.quantized.toFixed(1)}` : '–';
  const sqnr = verification.outputs.map(({ similarity }) => toNumber(similarity.sqnr).toFixed(1)).join(' / ');
  const agreement = verification.outputs[0]?.agreement;
  const share = agreement ? `${(100 * agreement.share).toFixed(1)} %` : '–';
  return `| ${tool} | ${metric} | ${share} | ${sqnr} | ${seconds.toFixed(0)} | ${((peakBytes ?? 0) / 1e6).toFixed(0)} |`;
}

for (const model of MODELS.filter(({ name }) => names.length === 0 || names.includes(name))) {
  mkdirSync(join(work, model.name), { recursive: true });
  const rows: Row[] = [];
  for (const target of [DEFAULT_TARGET, 'generic-npu']) {
    const result = await ours(model, target);
    const seconds = result.stages
      .filter(({ name }) => name !== 'verify')
      .reduce((sum, stage) => sum + stage.seconds, 0);
    rows.push({
      tool: `**dopt** ${target}`,
      verification: result.verification,
      seconds,
      peakBytes: result.peakBytes,
    });
  }
  for (const config of PEERS) rows.push(await peer(model, config));
  const kind = rows[0]?.verification?.task?.scores[0]?.name ?? 'metric';
  console.log(
    `\n### ${model.name}\n\n| | ${kind}, float → INT8 | same decision | SQNR dB | seconds | MB |\n|---|---|---|---|---|---|`,
  );
  for (const row of rows) console.log(line(row));
}
