import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import { decodeBinHeader, encodeBinHeader } from '../../src/compat/bin-file.js';
import { parseNotrainConfig } from '../../src/compat/config.js';
import { paretoSchema } from '../../src/config/pareto.js';
import { planSchema } from '../../src/config/plan.js';
import { quantParamsSchema } from '../../src/config/quant-params.js';
import { recipeSchema } from '../../src/config/recipe.js';
import { rewriteSchema } from '../../src/config/rewrite.js';
import { readScenario } from '../../src/config/scenario.js';
import { statisticsSchema } from '../../src/config/statistics.js';
import { parseYaml } from '../../src/config/yaml.js';
import { DoptError } from '../../src/errors.js';
import { encodeSafetensors, readSafetensors } from '../../src/graph/safetensors.js';
import { readArtifact } from '../../src/llm/artifact.js';
import { parseLayerFile } from '../../src/llm/layer-file.js';
import { parseLlmConfig } from '../../src/llm/read-config.js';
import { Journal } from '../../src/run/journal.js';
import { readManifest } from '../../src/run/out-folder.js';
import { readRunFile } from '../../src/run/run-file.js';
import { eventsIn } from '../../src/search/journal.js';
import { readMeasurements } from '../../src/target/calibrate/measurements.js';
import { loadTarget } from '../../src/target/target-files.js';
import { readClassMap } from '../../src/verify/class-map.js';
import { parseCoco, parseWiderFace, parseYolo } from '../../src/verify/label-boxes.js';
import { parseArray, parseLabelFile } from '../../src/verify/label-files.js';
import { readNpy } from '../../src/verify/npy.js';
import { decodePng } from '../../src/verify/png.js';
import { digits, ROOT } from './cli.js';

export interface Reader {
  /** Whole files, which damaged ones are made from. */
  seeds: Buffer[];
  read(bytes: Buffer): unknown;
}

const file = (path: string): Buffer => readFileSync(join(ROOT, path));
const text = (...lines: string[]): Buffer => Buffer.from(lines.join('\n'));

/** Gives `read` a path that holds the bytes. */
const atPath =
  (name: string, read: (path: string) => unknown) =>
  async (bytes: Buffer): Promise<void> => {
    const folder = mkdtempSync(join(tmpdir(), 'dopt-fuzz-'));
    try {
      writeFileSync(join(folder, name), bytes);
      await read(join(folder, name));
    } finally {
      rmSync(folder, { recursive: true });
    }
  };

function npy(header: string, data: Buffer): Buffer {
  const head = Buffer.from(`${header.padEnd(117)}\n`);
  const length = Buffer.alloc(2);
  length.writeUInt16LE(head.length);
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, head, data]);
}

const tensors = new Map([
  ['a.weight', { data: Float32Array.of(1, 2, 3, 4), shape: [2, 2] }],
  ['b', { data: BigInt64Array.of(1n), shape: [] }],
]);

/** Every reader of files in TypeScript. */
export const READERS: Record<string, Reader> = {
  prototxt: {
    seeds: [
      text(
        'strategy: "Quant_INT8-8" # c',
        'device: USE_CPU',
        'preprocess_parameter {',
        ' input_type: BINARY',
        " input_file_path: 'a b'",
        ' mean_value: 1.5',
        ' mean_value: -2e3',
        '}',
        'exclude_op: "a;b"',
      ),
      text(
        '// c',
        'preprocess_parameter: { input_type: IMAGE image_format: BGR input_file_path: "x" standard_deviation: 0.5 }',
      ),
    ],
    read: (bytes) => parseNotrainConfig(bytes.toString(), 'c.prototxt'),
  },
  recipe: {
    seeds: readdirSync(join(ROOT, 'recipes'))
      .filter((name) => name.endsWith('.yaml'))
      .map((name) => file(`recipes/${name}`)),
    read: (bytes) => parseYaml(bytes.toString(), 'r.yaml', recipeSchema),
  },
  target: {
    seeds: ['kirin9020', 'generic-npu'].map((name) => file(`targets/${name}.yaml`)),
    read: atPath('t.yaml', loadTarget),
  },
  'llm config': {
    seeds: [text('dataset:', '  train_files: data/a.json', 'lut_mode: true', 'kd:', '  enable: true')],
    read: (bytes) => parseLlmConfig(bytes.toString(), 'config.yaml'),
  },
  'dopt_config.json': {
    seeds: [
      text(
        '{"layer_strategy": {"model.layers.*.self_attn.q_proj": {"type": "Linear", "quant_strategy": "Quant_aigc_ptq", "weight": {"bit": 4, "group_size": 64}}}}',
      ),
      text('{"lm_head": {"type": "Linear", "weight": {"bit": 8}, "input": {"bit": 16}},}'),
    ],
    read: (bytes) => parseLayerFile(bytes.toString(), 'dopt_config.json'),
  },
  scenario: {
    seeds: ['cifar10_torch', 'camvid_tf', 'coco_torch'].map((name) => file(`recipes/nas/${name}/scen.yaml`)),
    read: atPath('scen.yaml', readScenario),
  },
  'search journal': {
    seeds: [
      text(
        '{"event":"opened","version":1,"digest":"d","space":"s","time":"t"}',
        '{"event":"proposed","round":0,"genomes":[[0,1,2],[2,1,0]],"costs":[[1.5],[2e3]]}',
        '{"event":"scored","key":"0,1,2","score":1.5,"reason":null}',
        '',
      ),
    ],
    read: (bytes) => eventsIn(bytes.toString(), 'journal.ndjson'),
  },
  measurements: {
    seeds: [
      text('model,dtype,ms,use', 'a.onnx,fp16,1.5,', '"b,c.onnx",int8,2e-1,show'),
      text('network,inference_time', 'a,0.001'),
      text('Op Name,Task Duration(us)', 'conv,12.5'),
    ],
    read: atPath('m.csv', (path) => readMeasurements(path, 'fp16')),
  },
  safetensors: {
    seeds: [encodeSafetensors(tensors), encodeSafetensors(new Map())],
    read: atPath('x.safetensors', readSafetensors),
  },
  'class map': {
    seeds: [
      npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", Buffer.alloc(6, 1)),
      npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 1), }", Buffer.alloc(16)),
    ],
    read: atPath('m.npy', readClassMap),
  },
  npy: {
    seeds: [
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", Buffer.alloc(24, 1)),
      npy("{'descr': '|u1', 'fortran_order': True, 'shape': (5,), }", Buffer.alloc(5, 7)),
      npy("{'descr': '<i8', 'fortran_order': False, 'shape': (), }", Buffer.alloc(8)),
    ],
    read: (bytes) => readNpy(bytes),
  },
  png: {
    seeds: readdirSync(digits.calibration)
      .filter((name) => name.endsWith('.png'))
      .slice(0, 3)
      .map((name) => readFileSync(join(digits.calibration, name))),
    read: (bytes) => decodePng(bytes),
  },
  bin: {
    seeds: [encodeBinHeader(510, [1, 3, 4, 5]), encodeBinHeader(610, [60])],
    read: (bytes) => decodeBinHeader(bytes, bytes.length + 240, 'c.bin'),
  },
  labels: {
    seeds: [text('a.png 1', 'b c.png 2', '# c', 'd.png\t3')],
    read: (bytes) => parseLabelFile(bytes.toString(), 'labels.txt'),
  },
  'labels csv': {
    seeds: [text('name,label', '"a ""b"".png",4', 'c.png;dog')],
    read: (bytes) => parseLabelFile(bytes.toString(), 'labels.csv'),
  },
  'labels json': {
    seeds: [text('{"a.png": 1, "b.png": "dog"}')],
    read: (bytes) => parseLabelFile(bytes.toString(), 'labels.json'),
  },
  'label array': {
    seeds: [text('[1, 2, 3]')],
    read: (bytes) => parseArray(bytes, 'labels.json'),
  },
  'label boxes': {
    seeds: [
      text('0 0.5 0.5 0.25 0.25', '3 0.1 0.2 0.3 0.4'),
      text(
        '{"images":[{"id":1,"file_name":"a.jpg","width":4,"height":4}],"annotations":[{"id":1,"image_id":1,"category_id":2,"bbox":[0,1,2,3],"iscrowd":0,"area":6}],"categories":[{"id":2,"name":"x"}]}',
      ),
      text('a/b.jpg', '2', '1 2 3 4 0 0 0 0 0 0', '5 6 7 8 0 0 0 1 0 0'),
    ],
    read: (bytes) =>
      readByOne(
        () => parseYolo(bytes.toString(), 'l', 80),
        () => parseCoco(bytes.toString(), 'l'),
        () => parseWiderFace(bytes.toString(), 'l'),
      ),
  },
  manifest: {
    seeds: [
      text(
        '{"version":1,"dopt":"0","state":"finished","command":["a"],"started":"t","finished":null,"details":{"a":[1,{"b":null}]},"files":{"x":{"path":"x","bytes":1,"sha256":"a"}}}',
      ),
    ],
    read: atPath('manifest.json', (path) => readManifest(dirname(path))),
  },
  'run files': {
    seeds: [
      text(
        '{"version":1,"dopt":"0","limits":[{"cost":"flops","target":"t","precision":"int8","min":null,"max":1.5}],"tried":3,"networks":[{"number":0,"key":"0,1","score":0.5,"costs":[2e3],"layers":[{"block":"conv","in":3,"out":8,"stride":1,"kernel":3,"hidden":0,"squeeze":0}],"file":"x.py"}]}',
      ),
      text(
        '{"version":1,"model":"m","strategy":"int8-8","target":"t","tensors":[{"name":"a","kind":"weight","node":"c","bits":8,"signed":true,"symmetric":true,"granularity":"channel","axis":0,"scale":[0.5,2e-3],"zero_point":[0,0],"range_seen":[-1,1],"rule":"r"}],"float_nodes":[{"node":"n","op":"Add","reason":"r"}]}',
      ),
      text(
        '{"version":1,"samples":2,"skipped":[{"file":"f","reason":"r"}],"warnings":[],"tensors":[{"tensor":"a","count":4,"zeros":1,"nans":0,"infinities":0,"min":-1,"max":2,"sum":1,"sumSquares":5,"histogram":{"base":-2,"width":0.5,"bins":6}}]}',
      ),
      text(
        '{"version":1,"strategy":"int8-8","target":"t","storage":"float16","folds":[{"into":"c","batchNorm":"b"}],"groups":[],"activations":[{"tensor":"a","format":{"bits":8,"signed":false,"symmetric":false},"range":{"kind":"fixed","low":0,"high":1,"because":"b"},"producer":null,"channelAxis":null}],"weights":[],"concats":[],"floatNodes":[]}',
      ),
      text(
        '{"version":1,"removeNodes":["a"],"initializers":[],"inputs":[],"outputs":[],"attributes":[],"addNodes":[],"extraOutputs":[]}',
      ),
    ],
    read: atPath('x.json', (path) =>
      readByOne(
        ...[paretoSchema, rewriteSchema, quantParamsSchema, planSchema, statisticsSchema].map(
          (schema) => () => readRunFile(path, schema),
        ),
      ),
    ),
  },
  'quantized models': {
    seeds: [
      text(
        '{"version":1,"architecture":"A","modelFolder":"model","fingerprint":"f","linears":[{"name":"a","shape":[4,8],"bits":4,"groupSize":4,"symmetric":true,"strategy":"gptq","shard":"block-0000.safetensors","block":0}],"embeddings":[],"floats":[],"activations":[],"shards":[{"file":"block-0000.safetensors","block":0,"bytes":9,"sha256":"s"}],"meta":{},"digest":"d"}',
      ),
    ],
    read: atPath('index.json', (path) => readArtifact(dirname(path))),
  },
  'journal of tries': {
    seeds: [text('{"key":"a","entry":[1.5,null]}', '{"key":"b","entry":[]}', '')],
    read: atPath('tries.ndjson', (path) => Journal.open(path, z.array(z.number().nullable()), false)),
  },
};

/** Gives the same bytes to readers of several formats; refused where all of them refuse. */
async function readByOne(...readers: (() => unknown)[]): Promise<void> {
  const taken: boolean[] = [];
  for (const reader of readers) taken.push(await refusedOrRead(reader));
  if (!taken.includes(true)) throw new Error('no reader takes it');
}

/** True when it was read; an error of ours, or a plain Error with words, is a refusal. What JavaScript itself throws is neither. */
async function refusedOrRead(work: () => unknown): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    const refusal =
      error instanceof DoptError ? error.kind !== 'bug' : (error as Error).constructor === Error;
    if (!refusal) throw error;
    return false;
  }
}

/** Numbers in [0, 1) from a seed: xorshift32. */
function random(seed: number): () => number {
  let state = seed || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Bytes and words that readers tend to stumble over. */
const EVIL = [
  '\0',
  '\xff',
  '"',
  "'",
  '{',
  '}',
  '[',
  ']',
  ':',
  '-1',
  '9'.repeat(20),
  '1e999',
  'NaN',
  '&a',
  '*a',
  '<<: *a',
  '\r',
  '\u2028',
  '%s',
  '../',
];

/** A damaged copy of one of the seeds. */
function damaged(seeds: readonly Buffer[], next: () => number): Buffer {
  const below = (limit: number): number => Math.floor(next() * limit);
  let bytes = Buffer.from(seeds[below(seeds.length)]!);
  for (let change = 0; change <= below(4); change += 1) {
    const at = below(bytes.length + 1);
    const kind = below(8);
    if (kind === 0 && bytes.length > 0) bytes[at % bytes.length]! ^= 1 << below(8);
    else if (kind === 1 && bytes.length > 0) bytes[at % bytes.length] = below(256);
    else if (kind === 2) bytes = bytes.subarray(0, at);
    else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + below(20))]);
    else {
      const other = seeds[below(seeds.length)]!;
      const from = below(other.length + 1);
      const inserted =
        kind < 6 ? Buffer.from(EVIL[below(EVIL.length)]!, 'latin1') : other.subarray(from, from + below(60));
      bytes = Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)]);
    }
  }
  return Buffer.from(bytes);
}

/** Longest time of the processor that a small damaged file may take, in seconds. */
const PATIENCE = 1;

export interface Fuzzed {
  cases: number;
  read: number;
  failures: { seed: number; what: string }[];
}

/** Feeds a reader with damaged files, for a time of the processor or a number of cases; ends early after ten failures. */
export async function fuzz(
  reader: Reader,
  limit: { seed: number; cpuSeconds?: number; cases?: number },
): Promise<Fuzzed> {
  const result: Fuzzed = { cases: 0, read: 0, failures: [] };
  const begun = process.cpuUsage();
  const spent = (): number => {
    const { user, system } = process.cpuUsage(begun);
    return (user + system) / 1e6;
  };
  while (
    result.cases < (limit.cases ?? Number.POSITIVE_INFINITY) &&
    spent() < (limit.cpuSeconds ?? Number.POSITIVE_INFINITY) &&
    result.failures.length < 10
  ) {
    const seed = (limit.seed + result.cases * 2654435761) >>> 0;
    const bytes = damaged(reader.seeds, random(seed));
    result.cases += 1;
    const started = spent();
    try {
      if (await refusedOrRead(() => reader.read(bytes))) result.read += 1;
    } catch (error) {
      result.failures.push({
        seed,
        what: `${(error as Error).constructor.name}: ${(error as Error).message.slice(0, 150)}`,
      });
    }
    const took = spent() - started;
    // What zlib held for a damaged file is freed by the event loop, not by promises alone.
    if (result.cases % 1000 === 0) await setImmediate();
    if (took > PATIENCE) result.failures.push({ seed, what: `took ${took.toFixed(1)} s of the processor` });
  }
  return result;
}
