import { expect, it } from 'vitest';
import type { Environment } from '../bridge/environments.js';
import type { Scenario } from '../config/scenario.js';
import { onDevices, requireGpus } from './open.js';

const scenario = {
  framework: 'PyTorch',
  resource: { name: 'pytorch_standalone', gpu_id: '0,1' },
} as Scenario;

it('takes other devices than the scenario names where they were asked for', () => {
  expect(onDevices(scenario, null)).toBe(scenario);
  expect(onDevices(scenario, [3]).resource).toEqual({ name: 'pytorch_standalone', gpu_id: '3' });
  expect(onDevices(scenario, []).resource).toEqual({ name: 'pytorch_standalone' });
  const none = { framework: 'PyTorch' } as Scenario;
  expect(onDevices(none, [2]).resource).toEqual({ gpu_id: '2' });
});

it('asks nothing of an environment where no GPU is named', async () => {
  await requireGpus(onDevices(scenario, []), {} as Environment, new AbortController().signal);
});
