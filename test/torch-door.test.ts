import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findReady } from '../src/bridge/environments.js';
import { type RunResult, resultSchema } from '../src/config/result.js';
import { digits, dopt, printedError } from './helpers/cli.js';
import { copyPictures } from './helpers/compat.js';
import { writeModels } from './helpers/frameworks.js';

let work: string;
let data: string[];
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'dopt-torch-'));
  await writeModels('torch', work);
  data = ['--data', copyPictures(work), '--std', '255', '--samples', '16'];
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const net = () => [join(work, 'net.py'), '--weights', join(work, 'net.pth')];
const SHAPE = ['--input-shape', 'x:1,3,16,16'];

async function quantized(name: string, args: string[]): Promise<RunResult> {
  const out = join(work, name);
  const { code, out: printed, err } = await dopt(['quantize', ...args, ...data, '--out', out, '--json']);
  expect(code, err).toBe(0);
  const result = resultSchema.parse(JSON.parse(printed));
  for (const file of Object.keys(result.files)) expect(existsSync(join(out, file))).toBe(true);
  return result;
}

describe('a PyTorch network', () => {
  it('goes in as .py with weights, and comes back as ONNX and as weights that decide alike', async () => {
    const { files, door, warnings } = await quantized('py', [...net(), ...SHAPE]);
    expect(Object.keys(files)).toEqual(expect.arrayContaining(['net.int8.onnx', 'net.int8.pth']));
    expect(door).toMatchObject({ framework: 'pytorch', unmapped: [] });
    expect(door!.versions.torch).toMatch(/^1\./);
    expect(door!.parity.samples!.maxRelativeDifference).toBeLessThan(1e-4);
    expect(door!.check!.againstOnnx[0]!.agreement!.share).toBe(1);
    expect(warnings.join()).not.toContain('pytorch file');
  });

  it('goes in as TorchScript, and comes back as TorchScript', async () => {
    const { files, door } = await quantized('script', [join(work, 'script.pt'), ...SHAPE]);
    expect(Object.keys(files)).toEqual(expect.arrayContaining(['script.int8.onnx', 'script.int8.pt']));
    expect(door!.parity.random.maxRelativeDifference).toBeLessThan(1e-4);
  });

  it('comes back with channels equalized and offsets moved, and decides alike', async () => {
    const uneven = [join(work, 'net.py'), '--weights', join(work, 'uneven.pth'), ...SHAPE];
    const { quantization, door, verification } = await quantized('uneven', uneven);
    expect(quantization.equalization).toMatchObject({ layers: expect.any(Number), offsets: true });
    expect(quantization.equalization!.layers).toBeGreaterThan(0);
    expect(door!.check!.againstOnnx[0]!.agreement!.share).toBe(1);
    expect(Number(door!.check!.againstOnnx[0]!.similarity.sqnr)).toBeGreaterThan(80);
    expect(Number(verification!.outputs[0]!.similarity.sqnr)).toBeGreaterThan(30);
  });

  it('comes back whole where a layer computes its weight, which cannot make up for another one', async () => {
    const computed = [join(work, 'computed.py'), '--weights', join(work, 'computed.pth'), ...SHAPE];
    const { door } = await quantized('computed', computed);
    expect(door!.unmapped).toMatchObject([{ reason: expect.stringContaining('computes this weight') }]);
    expect(Number(door!.check!.againstOnnx[0]!.similarity.sqnr)).toBeGreaterThan(40);
  });

  it('takes int16-8 through the door', async () => {
    const { files, verification } = await quantized('wide', [...net(), ...SHAPE, '--strategy', 'int16-8']);
    expect(Object.keys(files)).toEqual(expect.arrayContaining(['net.int16.onnx', 'net.int16.pth']));
    expect(Number(verification!.outputs[0]!.similarity.sqnr)).toBeGreaterThan(40);
  });

  it('runs in the newest PyTorch with --profile current', async ({ skip }) => {
    const ready = await findReady('current', undefined);
    skip(!ready, 'the profile current is not made (5 GB: dopt env create current)');
    const { door } = await quantized('current', [...net(), ...SHAPE, '--profile', 'current']);
    expect(door!.versions.torch).toMatch(/^2\./);
    expect(door!.check!.againstOnnx[0]!.agreement!.share).toBe(1);
  });
});

describe('bad input', () => {
  let count = 0;
  const refused = async (args: string[]) => {
    const out = join(work, `refused${count++}`);
    mkdirSync(out);
    const ended = await dopt(['quantize', ...args, ...data, '--out', out, '--json']);
    expect(existsSync(join(out, 'result.json'))).toBe(false);
    const error = printedError(ended);
    expect(error.exitCode).toBe(ended.code);
    return { ...error, remedy: error.suggestions.join(' ') };
  };

  it('a framework that the file is not of', async () => {
    expect(await refused([...net(), '--framework', 'tensorflow', ...SHAPE])).toMatchObject({
      code: 'FRAMEWORK_MISMATCH',
      exitCode: 2,
      found: 'pytorch',
    });
  });

  it('no input shape: what was found is proposed', async () => {
    const error = await refused(net());
    expect(error).toMatchObject({ code: 'MODEL_INPUT_SHAPE', exitCode: 3 });
    expect(error.remedy).toContain('--input-shape "x:1,3,224,224"');
  });

  it('an input that forward() does not have', async () => {
    const error = await refused([...net(), '--input-shape', 'x:1,3,16,16;y:1,4']);
    expect(error).toMatchObject({ code: 'MODEL_INPUT_SHAPE', message: expect.stringContaining('y given') });
  });

  it('an output that does not exist, with the near match', async () => {
    const error = await refused([...net(), ...SHAPE, '--outputs', 'outputs']);
    expect(error).toMatchObject({ code: 'MODEL_OUTPUT', exitCode: 3 });
    expect(error.remedy).toContain('Did you mean output?');
  });

  it('a whole pickled network instead of weights, with the way out', async () => {
    const whole = join(work, 'whole.pth');
    const error = await refused([join(work, 'net.py'), '--weights', whole, ...SHAPE]);
    expect(error).toMatchObject({ code: 'WEIGHTS_WHOLE_MODULE', exitCode: 3, place: whole });
    expect(error.remedy).toMatch(/model = torch\.load.*state_dict/);
    expect(await refused([whole, ...SHAPE])).toMatchObject({ code: 'MODEL_FORMAT', place: whole });
  });

  it('a .py without weights, and packages of PyTorch for another model', async () => {
    expect(await refused([join(work, 'net.py'), ...SHAPE])).toMatchObject({ code: 'WEIGHTS_MISSING' });
    expect(await refused([digits.model, '--profile', 'current'])).toMatchObject({ code: 'PROFILE_UNUSED' });
  });
});
