import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunResult, resultSchema } from '../src/config/result.js';
import { until } from './bridge-fake.js';
import { digits, dopt, eventsOf, printedError, sha256, stagesOf, startDopt } from './helpers/cli.js';
import { command, config, copyPictures, refusal } from './helpers/compat.js';
import { writeModels } from './helpers/frameworks.js';

let work: string;
let pictures: string[];
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'dopt-tensorflow-'));
  await writeModels('tensorflow', work);
  pictures = ['--data', copyPictures(work), '--std', '255', '--samples', '16'];
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const model = (name: string): string => join(work, name);

async function quantized(name: string, args: string[]): Promise<RunResult> {
  const out = join(work, name);
  const { code, out: printed, err } = await dopt(['quantize', ...args, '--out', out, '--json']);
  expect(code, err + printed).toBe(0);
  const result = resultSchema.parse(JSON.parse(printed));
  for (const file of Object.keys(result.files)) expect(existsSync(join(out, file))).toBe(true);
  return result;
}

const decibels = ({ verification }: RunResult, output = 0): number =>
  Number(verification!.outputs[output]!.similarity.sqnr);

describe('a TensorFlow network', () => {
  it('goes in as a frozen graph, and comes back as ONNX and as frozen graphs that decide alike', async () => {
    const labels = join(work, 'labels.txt');
    writeFileSync(
      labels,
      readdirSync(join(work, 'pictures'))
        .map((name, index) => `${name} ${index % 10}\n`)
        .join(''),
    );
    const result = await quantized('pb', [
      model('net.pb'),
      ...pictures,
      ...['--labels', labels, '--fake-quant'],
    ]);
    expect(Object.keys(result.files)).toEqual(
      expect.arrayContaining(['net.int8.onnx', 'net.int8.pb', 'net.fake-quant.pb', 'quant_params.json']),
    );
    const door = result.door!;
    expect(door).toMatchObject({ framework: 'tensorflow', unmapped: [], unwritten: null, frontEnd: null });
    expect(door.versions).toMatchObject({
      tensorflow: expect.stringMatching(/^2\./),
      tf2onnx: expect.any(String),
    });
    expect(door.parity.random.maxRelativeDifference).toBeLessThan(1e-4);
    expect(door.parity.samples!.maxRelativeDifference).toBeLessThan(1e-4);
    const { task, againstOnnx } = door.check!;
    expect(againstOnnx[0]).toMatchObject({ name: 'scores', agreement: { share: 1 } });
    // The float graph in TensorFlow and its ONNX form, and the quantized two: the same decisions, so the same scores.
    const scores = (scored: typeof task) =>
      scored!.scores.map(({ name, float, quantized: after }) => [name, float, after]);
    expect(scores(task)).toEqual(scores(result.verification!.task));
    expect(decibels(result)).toBeGreaterThan(25);
    const html = readFileSync(join(work, 'pb/report.html'), 'utf8');
    expect(html).toContain('In tensorflow');
    const manifest = JSON.parse(readFileSync(join(work, 'pb/manifest.json'), 'utf8'));
    expect(manifest.details.door.parity.samples).toEqual(door.parity.samples);
    const params = JSON.parse(readFileSync(join(work, 'pb/quant_params.json'), 'utf8'));
    expect(params.tensors.map(({ name }: { name: string }) => name)).toContain('x/transpose');
  });

  it('goes in as a Keras file and as a SavedModel, which give the same network', async () => {
    const [h5, saved] = [
      await quantized('h5', [model('keras.h5'), ...pictures]),
      await quantized('folder', [model('saved'), ...pictures]),
    ];
    for (const [name, { files, door, quantization }] of [
      ['keras', h5],
      ['saved', saved],
    ] as const) {
      expect(Object.keys(files)).toEqual(expect.arrayContaining([`${name}.int8.onnx`, `${name}.int8.pb`]));
      expect(door!.check!.againstOnnx[0]).toMatchObject({ name: 'scores', agreement: { share: 1 } });
      expect(quantization).toMatchObject({ weights: 3, activations: 3 });
    }
    expect(decibels(h5)).toBeCloseTo(decibels(saved), 1);
  });

  it('takes several inputs, by the names that the user knows them by', async () => {
    const result = await quantized('two', [model('two.h5'), '--data', model('two.npz')]);
    expect(result.verification!.outputs.map(({ name }) => name)).toEqual(['kind', 'score']);
    expect(result.door!.check!.againstOnnx.map(({ name }) => name)).toEqual(['kind', 'score']);
  });

  it('comes back with channels equalized, and decides alike', async () => {
    const { quantization, door } = await quantized('uneven', [
      model('uneven.pb'),
      ...pictures,
      '--fake-quant',
    ]);
    expect(quantization.equalization).toMatchObject({ layers: 1 });
    expect(door).toMatchObject({ unmapped: [], unwritten: null });
    expect(Number(door!.check!.againstOnnx[0]!.similarity.sqnr)).toBeGreaterThan(80);
  });

  it('takes int16-8 through the door, and exclusions by the names of the graph', async () => {
    const options = ['--strategy', 'int16-8', '--exclude', 'body'];
    const result = await quantized('wide', [model('net.pb'), ...pictures, ...options]);
    expect(result.quantization.weights).toBe(2);
    expect(Object.keys(result.files)).toEqual(expect.arrayContaining(['net.int16.onnx', 'net.int16.pb']));
    expect(decibels(result)).toBeGreaterThan(35);
    expect(result.door!.check!.againstOnnx[0]!.agreement!.share).toBe(1);
  });

  it('begins behind an audio front end, and takes wav files', async () => {
    const result = await quantized('speech', [model('speech.pb'), '--data', model('clips')]);
    expect(result.door!.frontEnd).toMatchObject({ features: 'Mfcc:0' });
    expect(result.data).toMatchObject({ calibration: { samples: expect.any(Number) } });
    expect(result.door!.check!.againstOnnx[0]!.agreement!.share).toBe(1);
  });

  it('is quantized all the same where the graph has no place for it, and says so', async () => {
    const result = await quantized('columns', [model('columns.pb'), ...pictures]);
    expect(Object.keys(result.files).filter((name) => name.endsWith('.pb'))).toEqual([]);
    expect(result.door).toMatchObject({
      check: null,
      unwritten: expect.stringContaining("'product/Einsum'"),
    });
    expect(result.warnings.join()).toContain('no tensorflow file');
    expect(readFileSync(join(work, 'columns/report.html'), 'utf8')).toContain(
      'There is no file in the format',
    );
  });

  it('is refused by the original’s command, which promises a graph, where there is none', async () => {
    const calConf = config(work, 'image.prototxt', { PICTURES: join(work, 'pictures') });
    const folder = join(work, 'compat');
    mkdirSync(folder);
    const made = command(folder, calConf, {
      ...{ '--framework': '3', '--model': model('columns.pb'), '--input_format': 'NHWC' },
      ...{ '--input_shape': 'x:1,16,16,3', '--out_nodes': 'scores' },
    });
    expect(await refusal(made, 5)).toMatchObject({
      code: 'WRITE_BACK',
      message: expect.stringContaining("'product/Einsum'"),
    });
  });

  it('goes on where it was stopped, without converting again', async () => {
    const out = join(work, 'stopped');
    const args = ['quantize', model('net.pb'), ...pictures, '--out', out];
    const running = startDopt(args);
    await until(
      () => stagesOf(eventsOf(out).at(-1) ?? [], 'stage-start').includes('observe') || undefined,
      'stage observe',
      120_000,
    );
    running.child.kill('SIGTERM');
    expect((await running.ended).code).not.toBe(0);
    expect(existsSync(join(out, 'result.json'))).toBe(false);
    const { code, err } = await dopt([...args, '--resume']);
    expect(code, err).toBe(0);
    expect(stagesOf(eventsOf(out).at(-1)!, 'stage-start')).not.toContain('convert');
    for (const name of ['net.int8.onnx', 'net.int8.pb', 'quant_params.json'])
      expect(sha256(join(out, name)), name).toBe(sha256(join(work, 'pb', name)));
  });
});

describe('bad input', () => {
  let count = 0;
  const refused = async (...args: string[]) => {
    const out = join(work, `refused${count++}`);
    mkdirSync(out);
    const ended = await dopt(['quantize', ...args, ...pictures, '--out', out, '--json']);
    expect(existsSync(join(out, 'result.json'))).toBe(false);
    const error = printedError(ended);
    expect(error.exitCode).toBe(ended.code);
    return { ...error, remedy: error.suggestions.join(' ') };
  };

  it('no input shape: what was found is proposed', async () => {
    const error = await refused(model('open.pb'));
    expect(error).toMatchObject({ code: 'MODEL_INPUT_SHAPE', exitCode: 3, place: model('open.pb') });
    expect(error.remedy).toContain('--input-shape "x:1,224,224,3"');
  });

  it('an output that does not exist, with the near match', async () => {
    const error = await refused(model('net.pb'), '--outputs', 'score');
    expect(error).toMatchObject({ code: 'MODEL_OUTPUT', exitCode: 3 });
    expect(error.remedy).toContain('Did you mean scores?');
  });

  it('a framework that the file is not of', async () => {
    expect(await refused(model('net.pb'), '--framework', 'pytorch')).toMatchObject({
      code: 'FRAMEWORK_MISMATCH',
      exitCode: 2,
      found: 'tensorflow',
    });
    const renamed = join(work, 'renamed.pb');
    writeFileSync(renamed, readFileSync(digits.model));
    const error = await refused(renamed);
    expect(error).toMatchObject({ code: 'MODEL_FORMAT', exitCode: 3, place: renamed });
    expect(error.remedy).toContain('.onnx');
  });

  it('weights without a network, and weights beside a graph', async () => {
    const error = await refused(model('weights.h5'));
    expect(error).toMatchObject({ code: 'MODEL_FORMAT', exitCode: 3 });
    expect(error.remedy).toContain('model.save(');
    expect(await refused(model('net.pb'), '--weights', model('weights.h5'))).toMatchObject({
      code: 'WEIGHTS_UNUSED',
    });
  });
});
