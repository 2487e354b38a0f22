import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkRequest, type NotrainRequest } from './request.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-request-'));
  for (const name of ['net.onnx', 'net.pb', 'net.py', 'net.pth', 'script.pt', 'c.prototxt', 'other'])
    writeFileSync(join(folder, name), '');
  mkdirSync(join(folder, 'dir.onnx'));
  mkdirSync(join(folder, 'saved'));
  writeFileSync(join(folder, 'saved/saved_model.pb'), '');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Overrides = Partial<Omit<NotrainRequest, 'model' | 'weight' | 'calConf'>> & {
  model?: string;
  weight?: string;
  calConf?: string;
};

const check = ({ model = 'net.onnx', weight, calConf = 'c.prototxt', ...more }: Overrides) =>
  checkRequest({
    mode: 0,
    framework: 5,
    model: join(folder, model),
    weight: weight === undefined ? null : join(folder, weight),
    className: null,
    profile: null,
    calConf: join(folder, calConf),
    output: '/out/net',
    compressConf: '/out/param',
    inputFormat: null,
    inputShape: [{ name: 'x', dims: [1] }],
    outNodes: null,
    deviceIdx: null,
    overwrite: false,
    environment: 'venv',
    threads: 1,
    ...more,
  });

describe('checkRequest', () => {
  it('tells the framework by number and file', () => {
    expect(check({})).toBe('onnx');
    expect(check({ framework: 3, model: 'net.pb' })).toBe('tensorflow');
    expect(check({ framework: 3, model: 'saved' })).toBe('tensorflow');
    expect(check({ model: 'net.py', weight: 'net.pth' })).toBe('pytorch');
    expect(check({ model: 'script.pt' })).toBe('pytorch');
  });

  it.each<[string, Overrides, number, RegExp]>([
    ['another mode', { mode: 1 }, 2, /mode 0 only/],
    ['Caffe', { framework: 0 }, 2, /Caffe/],
    ['an unknown framework', { framework: 7 }, 2, /--framework 7/],
    ['a .pb with 5', { model: 'net.pb' }, 3, /takes a PyTorch .py or an .onnx file/],
    ['an .onnx with 3', { framework: 3 }, 3, /takes a TensorFlow .pb/],
    ['another file', { model: 'other' }, 3, /takes/],
    ['PyTorch without weights', { model: 'net.py' }, 2, /--weight is missing/],
    ['ONNX with weights', { weight: 'net.pth' }, 2, /--weight belongs to PyTorch/],
    ['no input shape', { inputShape: [] }, 2, /--input_shape/],
    ['a folder for a model', { model: 'dir.onnx' }, 3, /is a folder/],
    ['a missing model', { model: 'none.onnx' }, 3, /does not exist/],
    ['a missing config', { calConf: 'none.prototxt' }, 3, /--cal_conf .* does not exist/],
    ['a folder for a config', { calConf: 'saved' }, 3, /--cal_conf .* is a folder/],
    ['results under one name', { output: '/out/param' }, 2, /same file as --output/],
  ])('refuses %s', (_, overrides, exitCode, message) => {
    expect(() => check(overrides)).toThrow(
      expect.objectContaining({ exitCode, message: expect.stringMatching(message) }),
    );
  });

  it('refuses to write over the model', () => {
    expect(() => check({ output: join(folder, 'net.onnx') })).toThrow(/same file as --model/);
  });
});
