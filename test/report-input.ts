import { findings } from '../src/analyze/findings.js';
import type { Analysis, QuantizerAnalysis } from '../src/config/analysis.js';
import type { Plan } from '../src/config/plan.js';
import type { QuantParam, QuantParams } from '../src/config/quant-params.js';
import type { RunResult } from '../src/config/result.js';
import type { Statistics, TensorStatistics } from '../src/config/statistics.js';
import type { Score } from '../src/config/verification.js';
import type { RunFiles } from '../src/report/report.js';
import { sqnr } from '../src/verify/similarity.js';

/** Names that a model file may hold and a page must survive. */
export const HOSTILE = [
  '</script><script>document.title="owned"</script>',
  `"><img src="http://example.invalid/x.png" onerror='document.title="owned"'>`,
  "a&b<c>'d'\u0007",
  'StatefulPartitionedCall/model/block_12_expand_relu/Relu6/with/a/very/long/name/that/never/ends/'.repeat(3),
];

const BINS = 2048;

/**
 * The files of a made-up run: a chain of convolutions with bell-shaped activations, some clipped, noise that grows and
 * jumps at every tenth layer. Deterministic.
 */
export function madeUpRun(
  layers: number,
  change: (result: RunResult) => RunResult = (result) => result,
): RunFiles {
  const nameOf = (i: number): string =>
    HOSTILE[i - 3] ?? `backbone/stage${1 + Math.floor(i / 8)}/conv${i % 8}/Relu_output_0`;
  const names = ['images', ...Array.from({ length: layers }, (_, i) => nameOf(i))];
  const node = (i: number): string => (i === 6 ? HOSTILE[0]! : `backbone/conv_${i}`);

  const statistics = names.map((name, i) => bell(name, i));
  const params = names.flatMap((name, i) =>
    quantParams(name, i, i === 0 ? null : node(i), statistics[i]!.statistics),
  );
  let ratio = 2e-5;
  const tensors = names.map((name, i) => {
    ratio = i % 10 === 7 ? ratio + 0.0004 * (1 + (i % 4)) : ratio * 1.01 + 1e-5;
    const signal = 1e5 * (1 + (i % 5));
    const noise = signal * ratio;
    return {
      name,
      sqnr: sqnr(signal, noise),
      cosine: 1 - ratio / 2,
      signal,
      noise,
      maxAbsoluteError: 0.5,
      elements: 1e6,
      nonFinite: 0,
    };
  });
  const groups: Plan['groups'] = names.slice(1).map((name, i) => ({
    name: node(i + 1),
    kind: i % 3 === 2 ? 'add' : 'conv',
    nodes: [node(i + 1)],
    inputs: [names[i]!],
    output: name,
    quantized: true,
    activation: 'Relu',
  }));
  const plan: Plan = {
    version: 1,
    strategy: 'int8-8',
    target: 'generic',
    storage: 'integer',
    folds: [],
    groups,
    activations: names.map((tensor, i) => ({
      tensor,
      format: { bits: 8, signed: false, symmetric: false },
      range: { kind: 'observed' },
      producer: i === 0 ? null : node(i),
      channelAxis: null,
    })),
    weights: groups
      .filter(({ kind }) => kind === 'conv')
      .map(({ name }) => ({
        tensor: `${name}.weight`,
        node: name,
        format: { bits: 8, signed: true, symmetric: true },
        axis: 0,
        groups: 1,
      })),
    concats: [],
    floatNodes: [],
  };
  const quantParamsFile: QuantParams = {
    version: 1,
    model: 'detector.onnx',
    strategy: 'int8-8',
    target: 'generic',
    tensors: params,
    float_nodes: [],
  };
  const file: Statistics = {
    version: 1,
    samples: 200,
    skipped: [],
    warnings: [],
    tensors: statistics.map((entry) => entry.statistics),
  };
  const counts = new Map(statistics.map((entry) => [entry.statistics.tensor, entry.counts]));
  return {
    result: change(madeUpResult(tensors, names.length)),
    plan,
    params: quantParamsFile,
    statistics: file,
    counts: (tensor) => counts.get(tensor),
  };
}

const score = (
  name: string,
  float: number | null,
  quantized: number,
  interval: Score['interval'],
): Score => ({
  name,
  unit: '%',
  better: 'higher',
  float,
  quantized,
  standardErrors: {
    float: float === null ? null : 4.02,
    quantized: 4.11,
    difference: interval && (interval[1] - interval[0]) / 4,
  },
  interval,
});

/** A one-sided or two-sided bell with a tail, as activations have it. */
function bell(tensor: string, i: number): { statistics: TensorStatistics; counts: BigUint64Array } {
  const width = 2 ** (-7 - (i % 3));
  const oneSided = i % 2 === 1;
  const spread = BINS * width * (0.03 + (i % 7) * 0.012);
  const base = oneSided ? 0 : -BINS / 2;
  const counts = new BigUint64Array(BINS);
  let [count, sum, sumSquares, min, max] = [0, 0, 0, 0, 0];
  for (let k = 0; k < BINS; k++) {
    const value = (base + k + 0.5) * width;
    const body = 400_000 * Math.exp(-0.5 * (value / spread) ** 2);
    const tail = 20_000 * Math.exp(-Math.abs(value) / spread);
    const mass = Math.floor(body + tail);
    counts[k] = BigInt(mass);
    if (mass === 0) continue;
    count += mass;
    sum += mass * value;
    sumSquares += mass * value * value;
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  const zeros = oneSided ? count : 0;
  const statistics: TensorStatistics = {
    tensor,
    count: count + zeros,
    zeros,
    nans: 0,
    infinities: 0,
    min,
    max,
    sum,
    sumSquares,
    histogram: { base, width, bins: BINS },
  };
  return { statistics, counts };
}

function quantParams(name: string, i: number, node: string | null, seen: TensorStatistics): QuantParam[] {
  const keep = [1, 0.45, 0.8, 0.97][i % 4]!;
  const [low, high] = [seen.min * keep, seen.max * keep];
  const scale = (high - low) / 255;
  const shared = { node, bits: 8 as const, symmetric: false };
  // Every ninth has a scale a channel, as inputs of depthwise convolutions may.
  const channels = i % 9 === 4 ? [0.25, 0.5, 1] : [1];
  const activation: QuantParam = {
    ...shared,
    name,
    kind: 'activation',
    signed: false,
    granularity: channels.length > 1 ? 'channel' : 'tensor',
    axis: channels.length > 1 ? 1 : null,
    scale: channels.map((share) => scale * share),
    zero_point: channels.map(() => Math.round(-low / scale)),
    range_seen: [seen.min, seen.max],
    rule: i % 4 === 1 ? 'percentile' : 'mse',
  };
  if (node === null || (i - 1) % 3 === 2) return [activation];
  const scales = Array.from({ length: 16 }, (_, c) => (c === 3 && i === 1 ? 1e-12 : 0.002 * (1 + c)));
  const weight: QuantParam = {
    ...shared,
    name: `${node}.weight`,
    kind: 'weight',
    signed: true,
    symmetric: true,
    granularity: 'channel',
    axis: 0,
    scale: scales,
    zero_point: scales.map(() => 0),
    range_seen: [-1, 1],
    rule: 'absmax',
  };
  return [activation, weight];
}

const digest = (path: string, bytes: number) => ({ path, bytes, sha256: '0f'.repeat(32) });

function madeUpResult(
  tensors: NonNullable<RunResult['verification']>['tensors'],
  activations: number,
): RunResult {
  return {
    version: 1,
    dopt: '0.1.0',
    model: {
      name: 'detector-nano',
      source: digest('/data/models/detector-nano.onnx', 3_659_407),
      opset: { from: 11, to: 13 },
      nodes: 412,
      notes: ['Converted from opset 11 to 13.', 'Folded 96 constants.'],
      parity: {
        executor: 'onnxruntime 1.15.1',
        samples: 2,
        maxAbsoluteDifference: 2e-6,
        maxRelativeDifference: 3.1e-7,
      },
    },
    settings: {
      strategy: 'int8-8',
      target: 'generic',
      weightsGranularity: 'channel',
      calibration: 'auto',
      effort: 'balanced',
      without: [],
      recipe: 'yolox',
      exclude: [],
      with: [],
      precision: { int16: [], float: [] },
      seed: 0,
    },
    data: {
      calibration: { path: '/data/pictures', sha256: 'ab'.repeat(32), samples: 200, skipped: [] },
      verification: {
        path: '/data/held-out',
        sha256: 'cd'.repeat(32),
        samples: 50,
        skipped: [{ file: 'broken.jpg', reason: 'truncated' }],
      },
      disjoint: true,
    },
    quantization: {
      activations,
      int16: 0,
      weights: 64,
      equalization: { layers: 1, norms: 0, offsets: true, gain: 2.5, standardError: 0.2 },
      floatNodes: [
        { node: 'head/Exp', op: 'Exp', reason: 'detector decoding', cause: 'postprocessing' },
        { node: 'head/Concat_2', op: 'Concat', reason: 'leads only to outputs', cause: 'postprocessing' },
        { node: 'head/Concat_3', op: 'Concat', reason: 'leads only to outputs', cause: 'postprocessing' },
        { node: HOSTILE[0]!, op: 'My<Op>', reason: 'not known', cause: 'unsupported' },
      ],
    },
    door: null,
    sizes: { float: 3_659_407, quantized: 1_152_476 },
    verification: {
      evaluator: { name: 'onnxruntime-node', version: '1.30.0', optimization: 'disabled', threads: 2 },
      samples: 50,
      outputs: [
        {
          name: 'output',
          similarity: {
            sqnr: 24.31,
            cosine: 0.99813,
            signal: 1.35e6,
            noise: 5004,
            maxAbsoluteError: 1.204,
            elements: 15_083_250,
            nonFinite: 0,
          },
          sqnrStandardError: 0.21,
          agreement: null,
          differentShapes: 0,
        },
      ],
      task: {
        kind: 'detection',
        against: 'labels',
        samples: 50,
        scores: [
          score('AP', 35.63, 35.12, [-1.31, 0.42]),
          score('AP50', 51.94, 51.2, [-2.4, 0.9]),
          score('AP75', 37.35, 37.02, [-2.0, 1.4]),
          score('same decision', null, 94.1, null),
        ],
      },
      tensors,
      tensorSamples: 8,
      seconds: 6.2,
      floatSecondsPerSample: 0.03,
      quantizedSecondsPerSample: 0.04,
      warnings: [],
    },
    precision: null,
    predicted: {
      target: 'kirin9020',
      float: { precision: 'fp16', seconds: 3.1e-3, interval: [1.4e-3, 6.9e-3], energy: 2e-3, measured: 0 },
      quantized: {
        precision: 'int8',
        seconds: 1.42e-3,
        interval: [0.6e-3, 3.4e-3],
        energy: 8e-4,
        measured: 0,
      },
    },
    tuning: null,
    stages: [
      { name: 'capture', seconds: 1.9, reused: true, peakBytes: 310e6 },
      { name: 'observe', seconds: 8.4, reused: false, peakBytes: 310e6 },
      { name: 'refine', seconds: 21.7, reused: false, peakBytes: 310e6 },
      { name: 'verify', seconds: 6.2, reused: false, peakBytes: null },
    ],
    seconds: 41.3,
    peakBytes: 612_000_000,
    warnings: ['1 file of /data/held-out could not be read and was left out: broken.jpg (truncated).'],
    command: [
      'dopt',
      'quantize',
      'detector nano.onnx',
      '--data',
      '/data/pictures',
      '--recipe',
      'yolox',
      '--out',
      'run',
    ],
    versions: { dopt: '0.1.0', node: '20.20.2', python: '3.10.14', onnx: '1.14.1', onnxruntime: '1.15.1' },
    files: {
      model: digest('detector-nano.int8.onnx', 1_152_476),
      parameters: digest('quant_params.json', 88_123),
    },
  };
}

/** What an analysis of a made-up run could have found: two of its tensors bring almost all of the noise. */
export function madeUpAnalysis({ plan, params }: RunFiles): Analysis {
  const weights = params.tensors.filter(({ kind }) => kind === 'weight');
  const decibels = (rank: number): number => Math.round(1000 * Math.log(rank + 1)) / 100;
  const common = (rank: number): Omit<QuantizerAnalysis, 'kind' | 'name' | 'origin' | 'accumulated'> => ({
    bits: 8,
    solo: { outputs: [decibels(rank)], layer: decibels(rank) + 10 },
    share: 0.5 ** rank,
    rank,
    remedies:
      rank > 12
        ? []
        : [
            {
              operation: 'int16',
              flag: '--int16 "some tensor"',
              note: '16 bits for this tensor',
              removes: 0.998,
            },
          ],
    distribution: {
      ...{ low: -3, high: 5, kurtosis: 4.2, tail: rank === 1 ? 14.4 : 1.2 },
      channels: {
        count: 32,
        dead: rank === 2 ? [3] : [],
        outliers: rank === 1 ? [{ channel: 7, ratio: 31 }] : [],
      },
      histogram: Array.from({ length: 64 }, (_, k) => Math.round(1000 * Math.exp(-((k - 24) ** 2) / 80))),
      growth: { points: [{ samples: 1, low: -1, high: 5 }], lastDoubling: 0.02 },
    },
  });
  const activations = plan.activations.map(
    ({ tensor, producer }, i): QuantizerAnalysis => ({
      ...common(2 * i + 1),
      ...{ kind: 'activation', name: tensor, origin: producer },
      accumulated: { outputs: [30 - i / 50], tensor: i === 0 ? 'Infinity' : 40 - i / 50 },
    }),
  );
  const layers = weights.map(
    ({ name, node }, i): QuantizerAnalysis => ({
      ...common(2 * i + 2),
      ...{ kind: 'weight', name: node!, origin: name, accumulated: null },
    }),
  );
  const quantizers = [...activations, ...layers];
  return {
    version: 1,
    dopt: '0.1.0',
    model: 'detector-nano',
    target: plan.target,
    strategy: plan.strategy,
    data: { path: '/data/pictures', samples: ['a.jpg', 'b.jpg'], profiled: 64 },
    outputs: [{ name: 'boxes', sqnr: 14.8 }],
    quantizers,
    findings: findings(quantizers),
    seconds: 31,
    peakBytes: 4e8,
  };
}
