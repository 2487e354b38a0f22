import { expect, it } from 'vitest';
import { gpuFrom, gpusFrom, parseIndices } from './flags.js';
import { llmOptionsFrom } from './llm-flags.js';

it('means the usual widths where a command has no flags for them', async () => {
  const { widths, activations } = await llmOptionsFrom('model', 'out', {});
  expect(widths).toEqual({
    bits: 4,
    groupSize: null,
    headBits: 8,
    embeddingBits: 8,
    bitsBudget: null,
    fullRange: true,
  });
  expect(activations).toEqual({ bits: 16, kvBits: 16, symmetric: true });
});

it('takes widths as they are given', async () => {
  const flags = {
    'group-size': 'channel',
    'head-bits': '4',
    'embedding-bits': 'float',
    'activation-bits': 'float',
  };
  const { widths, activations } = await llmOptionsFrom('model', 'out', flags);
  expect(widths).toMatchObject({ groupSize: 0, headBits: 4, embeddingBits: null });
  expect(activations).toBeNull();
});

it('counts GPUs from 0, and only where one was asked for', () => {
  expect(
    [{}, { device: 'cpu' }, { device: 'cuda' }, { device: 'cuda', 'device-index': [3] }].map(gpuFrom),
  ).toEqual([null, null, 0, 3]);
  const usage = expect.objectContaining({ code: 'USAGE', exitCode: 2 });
  expect(() => gpuFrom({ device: 'cpu', 'device-index': [0] })).toThrow(usage);
  expect(() => gpuFrom({ device: 'cuda', 'device-index': [0, 1] })).toThrow(usage);
  expect(gpusFrom({ device: 'cuda', 'device-index': [0, 1] })).toEqual([0, 1]);
});

it('reads one index or several, each once', () => {
  expect(['0', '1,0', ' 2, 2 ,3'].map(parseIndices)).toEqual([[0], [1, 0], [2, 3]]);
  for (const text of ['', 'a', '0,', '-1', '1.5', '0x1', '99999']) {
    expect(() => parseIndices(text)).toThrow(expect.objectContaining({ code: 'USAGE', exitCode: 2 }));
  }
});
