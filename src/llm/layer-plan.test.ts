import { describe, expect, it } from 'vitest';
import type { LlmLayers } from '../config/llm-layers.js';
import { EXIT, type UserError } from '../errors.js';
import { type LlmInspection, planLayers } from './layer-plan.js';
import type { LlmWidths } from './options.js';

const linear = (name: string, block: number | null, shape: [number, number]) => ({
  name,
  kind: 'linear' as const,
  block,
  shape,
  bias: false,
  head: block === null,
});
export const inspection = (): LlmInspection => ({
  architecture: 'LlamaForCausalLM',
  family: 'llama',
  blocks: 1,
  blockClass: 'LlamaDecoderLayer',
  hidden: 576,
  vocabulary: 100,
  context: 2048,
  parameters: 1,
  bytes: 1,
  fileBytes: 1,
  textTokens: null,
  tied: true,
  norm: 'rms',
  linears: [
    linear('model.layers.0.self_attn.q_proj', 0, [576, 576]),
    linear('model.layers.0.mlp.down_proj', 0, [576, 1536]),
    linear('lm_head', null, [100, 576]),
  ],
  embedding: { name: 'model.embed_tokens', shape: [100, 576] },
  uncovered: [],
  rotation: { possible: true, reason: null },
  unexportable: [],
  tokenizer: null,
  whole: null,
  blockBytes: 1,
  outsideBytes: 1,
  storedBlockBytes: 1,
  baseBytes: 1,
  heads: 1,
  sha256: '',
  versions: { torch: '', transformers: '' },
});
const widths: LlmWidths = {
  bits: 4,
  groupSize: null,
  headBits: 8,
  embeddingBits: 8,
  bitsBudget: null,
  fullRange: true,
};
const plan = (layers: LlmLayers | null, other: Partial<LlmWidths> = {}) =>
  planLayers(inspection(), { ...widths, ...other }, layers, { bits: 16, kvBits: 16, symmetric: true });
const failure = (work: () => unknown): UserError => {
  try {
    work();
  } catch (error) {
    return error as UserError;
  }
  throw new Error('nothing was thrown');
};

describe('widths of layers', () => {
  it('are sensible where nothing is said: groups that divide, a head of 8 bits with a scale a row', () => {
    const { linears, embeddingBits } = plan(null);
    expect(linears.map(({ bits, groupSize }) => [bits, groupSize])).toEqual([
      [4, 64],
      [4, 128],
      [8, 0],
    ]);
    expect(embeddingBits).toBe(8);
  });

  it('follow names before patterns, and later patterns before earlier ones', () => {
    const { linears, float } = plan({
      'model.layers.0.mlp.down_proj': { quant_strategy: 'float' },
      '*proj': { weight: { group_size: 32 } },
      '*.q_proj': { weight: { bit: 8 } },
      lm_head: { weight: { bit: 4, group_size: 64 } },
    });
    expect(linears.map(({ name, bits, groupSize }) => [name, bits, groupSize])).toEqual([
      ['model.layers.0.self_attn.q_proj', 8, 0],
      ['lm_head', 4, 64],
    ]);
    expect(float).toEqual([{ name: 'model.layers.0.mlp.down_proj', reason: 'asked for' }]);
  });

  it('take the name of a weight, and float for the embedding', () => {
    const layers: LlmLayers = {
      'model.embed_tokens': { quant_strategy: 'float' },
      'lm_head.weight': { weight: { bit: 4, group_size: 0 } },
    };
    expect(plan(layers).embeddingBits).toBeNull();
    expect(plan(layers).linears[2]).toMatchObject({ bits: 4, groupSize: 0 });
  });

  it('take the activations that the layers ask for', () => {
    const { activations } = plan({ '*': { input: { bit: 8, unsigned_quant: true } } });
    expect(activations).toEqual({ bits: 8, kvBits: 8, symmetric: false });
    const error = failure(() => plan({ '*proj': { input: { bit: 8 } }, lm_head: { input: { bit: 16 } } }));
    expect(error.code).toBe('LLM_ACTIVATION_WIDTHS');
  });
});

describe('refused', () => {
  it('a group size that does not divide, with those that would', () => {
    const error = failure(() => plan(null, { groupSize: 128 }));
    expect(error.code).toBe('LLM_GROUP_SIZE');
    expect(error.message).toContain('576 inputs of model.layers.0.self_attn.q_proj');
    expect(error.expected).toContain('32, 64, or channel');
  });

  it.each<[string, LlmLayers | null, Partial<LlmWidths>]>([
    ['in a flag', null, { bits: 8, groupSize: 64 }],
    ['in an entry', { '*proj': { weight: { bit: 8, group_size: 128 } } }, {}],
    ['between an entry and a strategy', { lm_head: { weight: { group_size: 64 } } }, {}],
  ])('groups of 8 bits, %s', (_, layers, other) => {
    const error = failure(() => plan(layers, other));
    expect([error.code, error.exitCode]).toEqual(['LLM_GROUP_OF_8_BITS', EXIT.invalidInput]);
  });

  it('a layer that the model has not, with near names', () => {
    const error = failure(() => plan({ 'model.layers.0.mlp.downproj': {} }));
    expect(error.code).toBe('LLM_LAYER_UNKNOWN');
    expect(error.suggestions[0]).toBe('Did you mean model.layers.0.mlp.down_proj?');
  });

  it('an embedding of 4 bits', () => {
    expect(failure(() => plan({ 'model.embed_tokens': { weight: { bit: 4 } } })).code).toBe(
      'LLM_EMBEDDING_BITS',
    );
  });
});
