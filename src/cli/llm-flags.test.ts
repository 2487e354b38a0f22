import { expect, it } from 'vitest';
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
