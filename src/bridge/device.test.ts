import { expect, it } from 'vitest';
import { EXIT } from '../errors.js';
import { type Device, deviceKey, placed } from './device.js';
import { describeUse } from './device-use.js';
import type { Environment } from './environments.js';
import { noDriver, requireDriver } from './gpu.js';

const here = { profile: 'onnx' } as Environment;
const there = { profile: 'current' } as Environment;
const device: Device = {
  gpu: { index: 1, name: 'H200', memory: null },
  environment: there,
  executor: { kind: 'torch', gpu: 1, others: [] },
};

it('runs networks on the device, and all else where it always runs', () => {
  const params = { model: 'm', tensors: [], out: 'o', threads: 1, source: {} as never };
  expect(placed('observeChannels', params, here, device)).toEqual({
    environment: there,
    params: { ...params, executor: { kind: 'torch', gpu: 1, others: [] } },
  });
  expect(placed('observeChannels', params, here, null)).toEqual({ environment: here, params });
  const listing = { source: {} as never };
  expect(placed('listSamples', listing as never, here, device).environment).toBe(here);
  expect([deviceKey(device), deviceKey(null), deviceKey(undefined)]).toEqual([{ device: 'torch' }, {}, {}]);
});

it('refuses a GPU at once where there is no driver', () => {
  expect(noDriver(['/no/such/driver'])).toMatch(/no NVIDIA driver/);
  expect(noDriver(['/no/such/driver', '/'])).toBeNull();
  requireDriver(null, 'none');
  requireDriver(0, null);
  expect(() => requireDriver(0, 'this machine has no NVIDIA driver')).toThrow(
    expect.objectContaining({ code: 'GPU_UNAVAILABLE', exitCode: EXIT.environment }),
  );
});

it('tells the doctor what would be used for what', () => {
  const use = { name: 'quantize', profile: 'current', frameworks: ['onnxruntime', 'torch'] } as const;
  const none = { version: '1.32.0', devices: [], reason: 'onnxruntime 1.32.0 is built without CUDA' };
  const torch = { version: '2.13.0', devices: [{ name: 'H200', memory: 1, reason: null }], reason: null };
  expect(describeUse(use, { onnxruntime: none, torch })).toMatchObject({
    status: 'ok',
    found: '0: H200, by torch 2.13.0',
  });
  const old = { ...torch, devices: [{ name: 'K80', memory: 1, reason: 'no code for K80' }] };
  const refused = describeUse(use, { onnxruntime: none, torch: old });
  expect(refused).toMatchObject({ status: 'warning', found: expect.stringContaining('no code for K80') });
  expect(refused.remedies.join()).toContain('--env system');
  expect(describeUse(use, null)).toMatchObject({
    status: 'ok',
    remedies: ['Make it: dopt env create current'],
  });
});
