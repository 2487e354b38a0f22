import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import { quantParamsSchema } from '../../src/config/quant-params.js';
import { readNpy } from '../../src/verify/npy.js';
import { decodePng } from '../../src/verify/png.js';
import { loadModel } from '../../src/verify/session.js';
import { sqnr } from '../../src/verify/similarity.js';
import { digits, ROOT } from './cli.js';

/** Samples of one input. */
export interface Samples {
  input: string;
  shape: number[];
  rows: Float32Array<ArrayBuffer>[];
}

/** Pictures of the shipped test set as the model takes them. */
export function digitSamples(count: number): Samples {
  const files = readdirSync(digits.test).sort().slice(0, count);
  const rows = files.map((file) =>
    Float32Array.from(decodePng(readFileSync(join(digits.test, file))).samples, (value) => value / 255),
  );
  return { input: 'image', shape: [1, 1, 16, 16], rows };
}

/** The arrays of a folder as samples. */
export function arraySamples(folder: string, input: string): Samples {
  const arrays = readdirSync(folder)
    .sort()
    .map((file) => readNpy(readFileSync(join(folder, file))));
  return { input, shape: arrays[0]!.shape, rows: arrays.map(({ data }) => Float32Array.from(data)) };
}

/** First output of a model for each sample, in onnxruntime-node without graph optimizations. */
export async function runOnnx(path: string, { input, shape, rows }: Samples): Promise<number[][]> {
  const model = await loadModel(path, 'disabled', 1);
  try {
    const results: number[][] = [];
    for (const data of rows) {
      const feeds = new Map([[input, { dtype: 'float32' as const, data, shape }]]);
      const outputs = await model.run(feeds, model.outputs, results.length);
      results.push(Array.from(outputs[model.outputs[0]!]!.data as Float32Array));
    }
    return results;
  } finally {
    await model.release();
  }
}

/** Signal to noise of one list of outputs against another in dB. */
export function similarity(expected: readonly number[][], found: readonly number[][]): number {
  let [signal, noise] = [0, 0];
  expected.forEach((row, i) => {
    row.forEach((value, j) => {
      signal += value ** 2;
      noise += (value - found[i]![j]!) ** 2;
    });
  });
  return sqnr(signal, noise);
}

export const decisions = (outputs: readonly number[][]): number[] =>
  outputs.map((row) => row.indexOf(Math.max(...row)));

/** What test/fixtures/read_exports.py says about an exported model. */
export interface Description {
  operators: Record<string, number>;
  weights: Record<string, { shape: number[]; values: number[] }>;
  tensors: string[];
}

/** Python with numpy and onnx: that of the product. */
export const python = async (args: readonly string[]): Promise<string> =>
  execFileSync((await ensureEnvironment('onnx')).python, args, { encoding: 'utf8', maxBuffer: 1 << 28 });

const READER = join(ROOT, 'test/fixtures/read_exports.py');

export const describeModel = async (path: string): Promise<Description> =>
  JSON.parse(await python([READER, 'describe', path])) as Description;

/** A deploy model computed in numpy. */
export async function evaluateDeploy(path: string, { shape, rows }: Samples): Promise<number[][]> {
  const folder = mkdtempSync(join(tmpdir(), 'dopt-evaluate-'));
  try {
    const raw = join(folder, 'samples.raw');
    writeFileSync(raw, Buffer.concat(rows.map(({ buffer }) => Buffer.from(buffer))));
    return JSON.parse(await python([READER, 'evaluate', path, raw, shape.join(',')])) as number[][];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The parameter file of a run. */
export const paramsOf = (run: string) =>
  quantParamsSchema.parse(JSON.parse(readFileSync(join(run, 'quant_params.json'), 'utf8'))).tensors;

/** One record of AMCT's record file. */
export interface AmctRecord {
  scale_d: number[];
  offset_d: number[];
  scale_w: number[];
  offset_w: number[];
  act_type: string[];
  [field: string]: (number | string | boolean)[];
}

/** Protobuf text of ScaleOffsetRecord by the rules of the text format: nested messages, repeated fields, escapes. */
export function readAmctRecord(text: string): Map<string, AmctRecord> {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}:]|[^\s{}:"]+/g) ?? [];
  let at = 0;
  const message = (): Record<string, unknown[]> => {
    const fields: Record<string, unknown[]> = {};
    while (at < tokens.length && tokens[at] !== '}') {
      const name = tokens[at++]!;
      let value: unknown;
      if (tokens[at] === '{') {
        at++;
        value = message();
        if (tokens[at++] !== '}') throw new Error(`${name} is not closed`);
      } else {
        if (tokens[at++] !== ':') throw new Error(`no value for ${name}`);
        value = scalar(tokens[at++]!);
      }
      fields[name] = [...(fields[name] ?? []), value];
    }
    return fields;
  };
  const records = message().record as { key: [string]; value: [AmctRecord] }[];
  if (at !== tokens.length) throw new Error(`left over: ${tokens[at]}`);
  return new Map(records.map(({ key, value }) => [key[0], value[0]]));
}

function scalar(token: string): string | number | boolean {
  if (token.startsWith('"')) {
    return token
      .slice(1, -1)
      .replace(/\\([0-7]{3})|\\(.)/g, (_, octal: string, character: string) =>
        octal ? String.fromCharCode(Number.parseInt(octal, 8)) : character,
      );
  }
  if (token === 'true' || token === 'false') return token === 'true';
  if (!Number.isFinite(Number(token))) throw new Error(`${token} is no number`);
  return Number(token);
}
