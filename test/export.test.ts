import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT, type UserError } from '../src/errors.js';
import { exportRun } from '../src/export/export.js';
import { openRun } from '../src/export/run-files.js';
import { contents, dopt, printedError, quick, ROOT } from './helpers/cli.js';
import {
  arraySamples,
  decisions,
  describeModel,
  digitSamples,
  evaluateDeploy,
  paramsOf,
  python,
  readAmctRecord,
  runOnnx,
  type Samples,
  similarity,
} from './helpers/exports.js';

const TARGETS = ['kirin9020', 'generic-npu'] as const;
let folder: string;
const runOf = (target: string): string => join(folder, target);
let exports = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dopt_export_'));
  for (const target of TARGETS)
    expect((await dopt(quick(runOf(target), '--target', target))).code).toBe(EXIT.ok);
  await python([join(ROOT, 'test/fixtures/mixed_model.py'), folder]);
  for (const target of TARGETS) {
    const more = ['--data', join(folder, 'data'), '--samples', '16', '--target', target, '--effort', 'fast'];
    const out = ['--out', runOf(`mixed-${target}`)];
    expect((await dopt(['quantize', join(folder, 'mixed.onnx'), ...more, ...out])).code).toBe(EXIT.ok);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Exports a run within this process: the command around it is seen with the digits. */
async function exportedHere(run: string, format: string) {
  const path = join(folder, `${exports++}.${format}`);
  const { warnings } = await exportRun({ run, format, out: path, environment: 'venv' });
  return { path, warnings };
}

/** Exports a run by the command and returns the file with what was said about it. */
async function exported(run: string, format: string, ...more: string[]) {
  const path = join(folder, `${exports++}.${format}`);
  const ended = await dopt(['export', run, '--to', format, '--out', path, ...more, '--json']);
  expect(ended.err + ended.out).toContain('"files"');
  const { files, warnings } = JSON.parse(ended.out) as { files: { path: string }[]; warnings: string[] };
  expect(files.map((file) => file.path)).toEqual([path]);
  return { path, warnings };
}

const floatOf = (run: string): string => join(run, 'stages/capture/float.onnx');
const quantizedOf = (run: string): string =>
  join(run, run.includes('mixed-') ? 'mixed.int8.onnx' : 'model.int8.onnx');

describe.each(TARGETS)('digits on %s', (target) => {
  const run = (): string => runOf(target);
  const samples = digitSamples(24);
  const reference = (): Promise<number[][]> => runOnnx(quantizedOf(run()), samples);

  it('float-onnx runs without quantizers, every weight and bias on its grid', async () => {
    const { path } = await exported(run(), 'float-onnx');
    const { operators, weights } = await describeModel(path);
    expect(Object.keys(operators).filter((op) => /Quantize|BatchNorm/.test(op))).toEqual([]);
    const layers = paramsOf(run()).filter(({ kind }) => kind === 'weight');
    expect(layers.length).toBe(18);
    for (const { name, scale, axis } of layers) {
      const { shape, values } = weights[name]!;
      const inner = shape.slice(axis! + 1).reduce((a, b) => a * b, 1);
      values.forEach((value, i) => {
        const s = scale[Math.floor(i / inner) % scale.length]!;
        const integer = Math.round(value / s);
        if (Math.fround(integer * Math.fround(s)) !== value || Math.abs(integer) > 127)
          throw new Error(`${name}[${i}] = ${value} is not on the grid of ${s}`);
      });
    }
    // Weights alone are quantized: nearer to the float network than to the quantized one.
    const found = await runOnnx(path, samples);
    expect(similarity(await runOnnx(floatOf(run()), samples), found)).toBeGreaterThan(38);
    expect(decisions(found)).toEqual(decisions(await reference()));
  });

  it('qdq-onnx is the run’s own model, byte for byte', async () => {
    const { path } = await exported(run(), 'qdq-onnx');
    expect(readFileSync(path).equals(readFileSync(quantizedOf(run())))).toBe(true);
  });

  it('qoperator-onnx computes in integers what the QDQ model says', async () => {
    const { path } = await exported(run(), 'qoperator-onnx');
    const { operators } = await describeModel(path);
    expect(operators.Conv ?? operators.Gemm).toBeUndefined();
    if (target === 'kirin9020') expect(operators).toMatchObject({ ConvInteger: 17, MatMulInteger: 1 });
    // Three layers make a sum: what they add to it has no grid of its own.
    else expect(operators).toMatchObject({ QLinearConv: 14, ConvInteger: 3, MatMulInteger: 1 });
    const [expected, found] = [await reference(), await runOnnx(path, samples)];
    expect(similarity(expected, found)).toBeGreaterThan(45);
    expect(decisions(found)).toEqual(decisions(expected));
  });

  it('amct-record has the scales of every layer, offsets in signed integers', async () => {
    const { path, warnings } = await exported(run(), 'amct-record');
    const records = readAmctRecord(readFileSync(path, 'utf8'));
    const params = paramsOf(run());
    const weights = params.filter(({ kind }) => kind === 'weight');
    expect([...records.keys()].sort()).toEqual(weights.map(({ node }) => node!).sort());
    const plan = JSON.parse(readFileSync(join(run(), 'plan.json'), 'utf8'));
    for (const { node, scale } of weights) {
      const record = records.get(node!)!;
      expect(record.scale_w.map(Math.fround)).toEqual(scale.map(Math.fround));
      expect(record.offset_w).toEqual(scale.map(() => 0));
      const [input] = plan.groups.find(({ nodes }: { nodes: string[] }) => nodes.includes(node!)).inputs;
      const activation = params.find(({ name }) => name === input)!;
      expect(record.scale_d.map(Math.fround)).toEqual(activation.scale.map(Math.fround));
      expect(record.offset_d).toEqual([activation.zero_point[0]! - 128]);
    }
    expect(warnings.join(' ')).toContain('/classifier/Gemm');
  });

  it('ascend-deploy-onnx, computed in integers by numpy, gives the numbers of the QDQ model', async () => {
    const { path } = await exported(run(), 'ascend-deploy-onnx');
    const [expected, found] = [await reference(), await evaluateDeploy(path, samples)];
    expect(decisions(found)).toEqual(decisions(expected));
    // On generic-npu the run also rounds sums and pools, which the deploy model leaves in float.
    expect(similarity(expected, found)).toBeGreaterThan(target === 'kirin9020' ? 45 : 30);
    await expect(runOnnx(path, samples)).rejects.toThrow(/AscendQuant/);
  });

  it.each(['0.6.1', '1.0.0'])('aimet-encodings %s give scales and zero points back', async (version) => {
    const { path } = await exported(run(), 'aimet-encodings', '--encodings-version', version);
    const found = readEncodings(JSON.parse(readFileSync(path, 'utf8')));
    const params = paramsOf(run());
    expect(found.size).toBe(params.length);
    const float = await describeModel((await exportedHere(run(), 'float-onnx')).path);
    for (const [name, { parameter }] of found)
      expect(parameter ? Object.keys(float.weights) : [...float.tensors, 'image']).toContain(name);
    for (const { name, kind, scale, zero_point } of params.filter((param) => param.kind !== 'bias')) {
      const { scales, zeroPoints, parameter } = found.get(name)!;
      expect(parameter).toBe(kind === 'weight');
      for (const [i, value] of scales.entries()) expect(value / scale[i]!).toBeCloseTo(1, 6);
      expect(zeroPoints).toEqual(zero_point.map(Number));
    }
  });

  it('json is the parameter file', async () => {
    const { path } = await exported(run(), 'json');
    expect(JSON.parse(readFileSync(path, 'utf8')).tensors).toEqual(paramsOf(run()));
  });
});

interface Read {
  parameter: boolean;
  scales: number[];
  zeroPoints: number[];
}

/** One entry of version 0.6.1, and of 1.0.0. */
type Legacy = { min: number; max: number; bitwidth: number; is_symmetric: string };
type Listed = {
  name: string;
  bw: number;
  is_sym: boolean;
  scale: number[];
  offset: number[];
  enc_type: string;
};
type Encodings = Record<'param_encodings' | 'activation_encodings', unknown> & { version: string };

/** AIMET's encodings: by the limits of the range where the version has them, else by scale and offset. */
function readEncodings(file: Encodings): Map<string, Read> {
  const found = new Map<string, Read>();
  for (const parameter of [true, false]) {
    const part = file[parameter ? 'param_encodings' : 'activation_encodings'];
    if (file.version === '0.6.1') {
      for (const [name, list] of Object.entries(part as Record<string, Legacy[]>)) {
        const scales = list.map(({ min, max, bitwidth }) => (max - min) / (2 ** bitwidth - 1));
        const zeroPoints = list.map(({ min, bitwidth, is_symmetric }, i) => {
          const lowest = is_symmetric === 'True' ? -(2 ** (bitwidth - 1)) : 0;
          return lowest - Math.round(min / scales[i]!) + 0;
        });
        found.set(name, { parameter, scales, zeroPoints });
      }
    } else {
      for (const { name, bw, is_sym, scale, offset, enc_type } of part as Listed[]) {
        expect(enc_type).toBe(scale.length > 1 ? 'PER_CHANNEL' : 'PER_TENSOR');
        const shift = is_sym ? 2 ** (bw - 1) : 0;
        const zeroPoints = offset.map((value) => -value - shift + 0);
        found.set(name, { parameter, scales: scale, zeroPoints });
      }
    }
  }
  return found;
}

describe.each(TARGETS)('a network with every kind of layer on %s', (target) => {
  const run = (): string => runOf(`mixed-${target}`);
  const samples = (): Samples => arraySamples(join(folder, 'data'), 'x');

  it('keeps what has no integer operator as it was, and computes the rest in integers', async () => {
    const { path, warnings } = await exportedHere(run(), 'qoperator-onnx');
    const { operators } = await describeModel(path);
    expect(operators).toMatchObject({ ConvTranspose: 1, Conv: 2 });
    expect((operators.MatMulInteger ?? 0) + (operators.QLinearMatMul ?? 0)).toBe(3);
    expect(warnings.join(' ')).toMatch(/Conv_b.*scale a channel.*Conv_g.*scale a channel/);
    // It is quantized only where the device has an integer form of it.
    expect(warnings.join(' ').includes('ConvTranspose_d')).toBe(target === 'generic-npu');
    const expected = await runOnnx(quantizedOf(run()), samples());
    expect(similarity(expected, await runOnnx(path, samples()))).toBeGreaterThan(45);
  });

  it('float-onnx stays near the float network', async () => {
    const { path } = await exportedHere(run(), 'float-onnx');
    const [float, found] = [await runOnnx(floatOf(run()), samples()), await runOnnx(path, samples())];
    expect(similarity(float, found)).toBeGreaterThan(25);
  });

  it('is refused by formats of one scale a tensor, with the layer to exclude', async () => {
    for (const [format, found] of [
      ['amct-record', 'silu, relu'],
      ['ascend-deploy-onnx', 'silu'],
    ] as const) {
      const out = join(folder, `refused.${format}`);
      const error = await exportRun({ run: run(), format, out, environment: 'venv' }).catch(
        (e: UserError) => e,
      );
      expect(error).toMatchObject({ code: 'EXPORT_PER_CHANNEL', found });
      expect((error as UserError).suggestions.join(' ')).toContain("--exclude 'Conv_b'");
      expect(existsSync(out)).toBe(false);
    }
    const { path, warnings } = await exportedHere(run(), 'aimet-encodings');
    expect(warnings.join(' ')).toContain('silu');
    expect(readEncodings(JSON.parse(readFileSync(path, 'utf8'))).get('silu')!.scales.length).toBe(6);
  });
});

it('writes a deploy model of every kind of layer, scales a channel with one zero point included', async () => {
  const run = runOf('mixed-excluded');
  const more = ['--data', join(folder, 'data'), '--samples', '16', '--target', 'ascend310b'];
  const rest = ['--exclude', 'Conv_b', '--out', run];
  expect((await dopt(['quantize', join(folder, 'mixed.onnx'), ...more, ...rest])).code).toBe(EXIT.ok);
  const { path } = await exportedHere(run, 'ascend-deploy-onnx');
  // One Mul is the SiLU's, the other brings the channels behind the Relu to a common scale.
  expect((await describeModel(path)).operators).toMatchObject({ AscendQuant: 7, AscendDequant: 7, Mul: 2 });
  const samples = arraySamples(join(folder, 'data'), 'x');
  const expected = await runOnnx(quantizedOf(run), samples);
  expect(similarity(expected, await evaluateDeploy(path, samples))).toBeGreaterThan(45);
});

describe('what cannot be exported', () => {
  const refused = async (run: string, format = 'float-onnx', ...more: string[]) => {
    const out = join(folder, 'never');
    const ended = await dopt(['export', run, '--to', format, '--out', out, ...more, '--json']);
    expect(existsSync(out)).toBe(false);
    return { ...printedError(ended), exit: ended.code };
  };

  /** A copy of a run to spoil. */
  const copy = (): string => {
    const path = join(folder, `copy${exports++}`);
    cpSync(runOf('kirin9020'), path, { recursive: true });
    return path;
  };

  it('a folder without a run', async () => {
    expect(await refused(join(folder, 'nothing'))).toMatchObject({ code: 'RUN_NOT_FOUND', exit: 3 });
    expect(await refused(join(folder, 'data'))).toMatchObject({ code: 'RUN_NOT_FOUND', exit: 3 });
  });

  it('a run that is not finished', async () => {
    const run = copy();
    const manifest = JSON.parse(readFileSync(join(run, 'manifest.json'), 'utf8'));
    writeFileSync(join(run, 'manifest.json'), JSON.stringify({ ...manifest, state: 'interrupted' }));
    const error = await refused(run);
    expect(error).toMatchObject({ code: 'RUN_NOT_FINISHED', exit: 3 });
    expect(error.suggestions.join(' ')).toContain('--resume');
  });

  it.each([
    'model.int8.onnx',
    'quant_params.json',
    'stages/capture/float.onnx',
    'stages/capture/weights.safetensors',
    'stages/apply/parameters.safetensors',
  ])('a run whose %s was changed, cut off or removed', async (file) => {
    const run = copy();
    const path = join(run, file);
    const whole = readFileSync(path);
    const flipped = Buffer.from(whole);
    flipped[flipped.length >> 1]! ^= 1;
    writeFileSync(path, flipped);
    const error = await openRun(run).catch((thrown: UserError) => thrown);
    expect((error as UserError).code).toMatch(/^RUN_(DAMAGED|FILE)$/);
    copyFileSync(join(runOf('kirin9020'), file), path);
    await expect(openRun(run)).resolves.toBeDefined();
    truncateSync(path, whole.length - 7);
    await expect(openRun(run)).rejects.toMatchObject({ place: path });
    rmSync(path);
    const missing = await refused(run);
    expect(missing.place).toBe(path);
    expect(missing.suggestions.join(' ')).toContain('--resume');
  });

  it('a format that does not exist, with near matches', async () => {
    const error = await refused(runOf('kirin9020'), 'float-onx');
    expect(error).toMatchObject({ code: 'EXPORT_FORMAT_UNKNOWN', exit: EXIT.usage });
    expect(error.suggestions[0]).toContain('float-onnx');
    const second = await refused(runOf('kirin9020'), 'aimet-encodings', '--encodings-version', '1.0');
    expect(second).toMatchObject({ code: 'EXPORT_VERSION_UNKNOWN', exit: EXIT.usage });
    expect(second.suggestions[0]).toContain('1.0.0');
  });

  it('onto a file or folder that exists', async () => {
    const taken = join(folder, 'taken.onnx');
    writeFileSync(taken, 'mine');
    for (const out of [taken, join(folder, 'data')]) {
      const before = contents(folder);
      const ended = await dopt(['export', runOf('kirin9020'), '--to', 'json', '--out', out, '--json']);
      expect(printedError(ended)).toMatchObject({ code: 'EXPORT_EXISTS', place: out });
      expect(contents(folder)).toEqual(before);
    }
  });
});
