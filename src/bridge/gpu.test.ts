import { expect, it } from 'vitest';
import { EXIT } from '../errors.js';
import { chooseGpu, type GpuState } from './gpu.js';

const one: GpuState = {
  version: '2.13.0',
  devices: [
    { name: 'H200', memory: 2 ** 37, reason: null },
    { name: 'K80', memory: 2 ** 33, reason: 'PyTorch 2.13.0 has no code for K80 (capability 3.7)' },
  ],
  reason: null,
};

it('takes the device of an index', () => {
  expect(chooseGpu(one, 0, 'current')).toEqual({ index: 0, name: 'H200', memory: 2 ** 37 });
});

it.each([
  [
    'the framework',
    { ...one, devices: [], reason: 'PyTorch 2.13.0 is built without CUDA' },
    0,
    /built without CUDA/,
  ],
  ['the device', one, 1, /no code for K80/],
  ['its number', one, 2, /there are 2, numbered from 0/],
])('says what is in the way: %s', (_, state, index, message) => {
  expect(() => chooseGpu(state, index, 'torch')).toThrow(
    expect.objectContaining({
      code: 'GPU_UNAVAILABLE',
      exitCode: EXIT.environment,
      message: expect.stringMatching(message),
      suggestions: expect.arrayContaining([expect.stringContaining('--profile current')]),
    }),
  );
});
