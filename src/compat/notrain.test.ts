import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseNotrainConfig } from './config.js';
import { inputParts } from './input-parts.js';
import { quantizeOptions, runFolder } from './notrain.js';
import type { NotrainRequest } from './request.js';

const SAMPLE = new URL('../../test/fixtures/compat/configs/three-std.prototxt', import.meta.url);

let pictures: string;
beforeAll(() => {
  pictures = mkdtempSync(`${tmpdir()}/dopt-notrain-`);
});
afterAll(() => rmSync(pictures, { recursive: true, force: true }));

const request = (more: Partial<NotrainRequest>): NotrainRequest => ({
  mode: 0,
  framework: 5,
  model: '/m/net.onnx',
  weight: null,
  className: null,
  profile: null,
  calConf: '/m/config.prototxt',
  output: '/out/net',
  compressConf: '/out/param',
  inputFormat: null,
  inputShape: [{ name: 'x', dims: [1, 5, 7, 3] }],
  outNodes: null,
  deviceIdx: null,
  overwrite: false,
  environment: 'venv',
  threads: 2,
  ...more,
});

const options = (asked: NotrainRequest, framework: 'tensorflow' | 'pytorch', layout: 'nchw' | 'nhwc') => {
  const text = readFileSync(SAMPLE, 'utf8').replace('"/data/" "calibration"', JSON.stringify(pictures));
  const config = parseNotrainConfig(text, asked.calConf);
  return quantizeOptions(asked, framework, config, inputParts(config, asked.inputShape, layout, '/'));
};

describe('quantizeOptions', () => {
  it('for the TensorFlow sample: NHWC pictures, output nodes, excluded operators', () => {
    const asked = request({ framework: 3, model: '/m/net.pb', outNodes: ['logits', 'boxes'] });
    expect(options(asked, 'tensorflow', 'nhwc')).toMatchObject({
      framework: 'tensorflow',
      model: '/m/net.pb',
      weights: null,
      outputs: ['logits', 'boxes'],
      inputShapes: { x: [1, 5, 7, 3] },
      strategy: 'int8-8',
      exclude: ['conv1/weights', 'conv2/weights', 'logits/weights'],
      data: pictures,
      out: runFolder('/out/net'),
      resume: true,
      parts: [
        {
          input: 'x',
          path: pictures,
          preprocess: { color: 'rgb', resize: [5, 7], std: [58.4, 57.1, 57.4], layout: 'nhwc' },
        },
      ],
    });
  });

  it('for the PyTorch sample: code and weights apart, the argument of forward() as input', () => {
    const asked = request({
      model: '/m/net.py',
      weight: '/m/net.pth',
      className: 'Net',
      inputShape: [{ name: 'input', dims: [1, 3, 5, 7] }],
    });
    expect(options(asked, 'pytorch', 'nchw')).toMatchObject({
      framework: 'pytorch',
      model: '/m/net.py',
      weights: '/m/net.pth',
      className: 'Net',
      outputs: null,
      parts: [{ input: 'input', preprocess: { resize: [5, 7], layout: 'nchw' } }],
    });
  });
});
