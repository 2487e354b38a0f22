/**
 * Speed and memory of calibration and planning, as ratios measured in one run: `npm run bench -- ASSETS DATA`.
 *
 * DATA is laid out by prepare_assets.py.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../src/bridge/child-environment.js';
import { type Environment, ensureEnvironment } from '../../src/bridge/environments.js';
import { runJob } from '../../src/bridge/jobs.js';
import type { DataSource } from '../../src/config/data.js';
import type { GraphFile, GraphNode } from '../../src/config/graph.js';
import { Graph, loadGraph } from '../../src/graph/graph.js';
import { tensorsToObserve } from '../../src/quantize/observe.js';
import { planQuantization } from '../../src/quantize/plan.js';
import { DEFAULT_TARGET } from '../../src/target/profiles.js';
import { benchModels, optionsOf } from './models.js';
import { PEERS, peerEnvironments, peerPython, runPeer } from './peers.js';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const [assets, data] = process.argv.slice(2) as [string, string];
const work = mkdtempSync(join(tmpdir(), 'dopt-bench-'));
const threads = availableParallelism();
const environment: Environment = await ensureEnvironment('onnx');
const say = (name: string, value: string): void => console.log(`| ${name} | ${value} |`);

interface Captured {
  name: string;
  float: string;
  tensors: string[];
  source: DataSource;
}

/** A captured model with the tensors that its plan observes. */
async function capture(name: string): Promise<Captured> {
  const model = benchModels({ assets, data }).find((candidate) => candidate.name === name)!;
  const out = join(work, name);
  const options = await optionsOf(model, ['--out', out]);
  mkdirSync(out);
  const answer = await runJob(environment, 'capture', {
    model: options.model,
    out,
    inputShapes: {},
    outputs: null,
    float16ToFloat32: false,
    seed: 0,
  });
  const graph = await loadGraph(answer.graph);
  const plan = planQuantization(graph, {
    strategy: 'int8-8',
    target: DEFAULT_TARGET,
    exclude: [],
    strict: false,
  });
  const source = {
    path: options.data,
    preprocess: options.preprocess,
    inputs: graph.file.inputs,
    indices: null,
    skipBad: false,
  };
  return { name, float: answer.model, tensors: tensorsToObserve(plan), source };
}

const first = (source: DataSource, count: number): DataSource => ({
  ...source,
  indices: Array.from({ length: count }, (_, index) => index),
});

/** Seconds a sample: plain inference, and inference with observation, turn and turn about. */
function observeRatio(
  { float, tensors, source }: Captured,
  samples: number,
): { plain: number; observed: number; ratio: number } {
  const job = join(work, 'ratio.json');
  const params = {
    model: float,
    tensors,
    source: first(source, samples),
    out: work,
    bins: 2048,
    threads,
    repeats: 9,
  };
  writeFileSync(job, JSON.stringify(params));
  const text = execFileSync(environment.python, [here('../../python/bench/observe_ratio.py'), job], {
    encoding: 'utf8',
    env: childEnvironment({ threads }),
  });
  return JSON.parse(text) as { plain: number; observed: number; ratio: number };
}

async function observe({ float, tensors, source }: Captured, samples: DataSource | number) {
  const out = mkdtempSync(join(work, 'observe-'));
  const chosen = typeof samples === 'number' ? first(source, samples) : samples;
  const started = performance.now();
  const answer = await runJob(environment, 'observe', {
    model: float,
    tensors,
    source: chosen,
    out,
    bins: 2048,
    threads,
  });
  return { seconds: (performance.now() - started) / 1000, peakBytes: answer.peakBytes };
}

/** onnxruntime's quantize_static on the same samples. */
async function peer({ float, source }: Captured, config: string, count: number) {
  const out = join(work, `peer-${count}`);
  mkdirSync(out, { recursive: true });
  const { samples } = await runJob(environment, 'materialize', { source: first(source, count), out });
  const file = join(out, 'samples.json');
  writeFileSync(file, JSON.stringify({ samples }));
  const onnxruntime = PEERS.find(({ name }) => name === 'onnxruntime')!;
  const files = { model: float, samples: file, out: join(out, 'model.onnx'), log: join(out, 'log') };
  const settings = { seconds: 3600, gigabytes: 16, environments: peerEnvironments() };
  const interpreter = await peerPython(onnxruntime, settings.environments);
  return runPeer(interpreter, onnxruntime, config, files, settings);
}

/** A chain of convolutions with activations and a residual sum every fourth, of about `nodes` nodes. */
function chain(nodes: number): GraphFile {
  const list: GraphNode[] = [];
  const initializers: GraphFile['initializers'] = [];
  let value = 'x';
  for (let index = 0; list.length < nodes; index++) {
    const weight = `w${index}`;
    initializers.push({ name: weight, dtype: 'float32', shape: [64, 64, 3, 3] });
    const add = (op: string, inputs: string[]): string => {
      const name = `${op}_${list.length}`;
      list.push({ name, op, domain: '', inputs, outputs: [`t${list.length}`], attributes: {} });
      return `t${list.length - 1}`;
    };
    const conv = add('Conv', [value, weight]);
    value = add('Relu', [index % 4 === 3 ? add('Add', [conv, value]) : conv]);
  }
  const type = { dtype: 'float32' as const, shape: [1, 64, 32, 32] };
  return {
    version: 1,
    name: 'chain',
    irVersion: 8,
    opset: { '': 13 },
    inputs: [{ name: 'x', ...type }],
    outputs: [{ name: value, ...type }],
    initializers,
    nodes: list,
    tensors: Object.fromEntries(list.map((node) => [node.outputs[0]!, type])),
  };
}

/** Median milliseconds of a few runs. */
async function median(work: () => unknown): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < 7; run++) {
    const started = performance.now();
    await work();
    times.push(performance.now() - started);
  }
  return times.sort((a, b) => a - b)[3]!;
}

console.log(
  `${cpus()[0]?.model ?? 'unknown processor'}, ${threads} threads\n\n| what | measured |\n|---|---|`,
);
try {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
  const proxyless = await capture('proxyless-w0.25-r112');
  const yolox = await capture('yolox-nano');
  for (const [captured, samples] of [
    [proxyless, 64],
    [yolox, 8],
  ] as const) {
    const { ratio, plain } = observeRatio(captured, samples);
    say(
      `observing ${captured.name} (${captured.tensors.length} tensors) against plain inference`,
      `${ratio.toFixed(2)} times (plain ${(plain * 1000).toFixed(2)} ms a picture)`,
    );
  }
  const ours = await observe(yolox, 64);
  for (const config of ['entropy', 'percentile']) {
    const theirs = await peer(yolox, config, 64);
    say(
      `calibrating yolox-nano on 64 pictures, against onnxruntime ${config}`,
      `${(theirs.seconds / ours.seconds).toFixed(1)} times faster (${ours.seconds.toFixed(1)} s against ${theirs.seconds.toFixed(1)} s), ` +
        `${(theirs.peakBytes / ours.peakBytes).toFixed(1)} times less memory (${megabytes(ours.peakBytes)} against ${megabytes(theirs.peakBytes)})`,
    );
  }
  const cycled = { ...proxyless.source, indices: null };
  const few = await observe(proxyless, 16);
  const many = await observe(proxyless, {
    ...cycled,
    indices: Array.from({ length: 512 }, (_, i) => i % 200),
  });
  say(
    'peak memory at 512 samples against 16 (proxyless)',
    `${(many.peakBytes / few.peakBytes).toFixed(3)} times (${megabytes(many.peakBytes)})`,
  );

  const file = join(work, 'graph.json');
  writeFileSync(file, JSON.stringify(chain(1000)));
  say('reading a graph.json of 1,000 nodes', `${(await median(() => loadGraph(file))).toFixed(0)} ms`);
  const options = { strategy: 'int8-8', target: DEFAULT_TARGET, exclude: [], strict: false } as const;
  const graph = chain(500);
  say(
    'planning 500 nodes',
    `${(await median(() => planQuantization(new Graph(graph), options))).toFixed(0)} ms`,
  );
} finally {
  rmSync(work, { recursive: true });
}
