import { describe, expect, it } from 'vitest';
import { type LlmResult, llmResultSchema } from '../../config/llm-result.js';
import { summarizeLlm } from '../../llm/summary.js';
import { renderLlmReport } from './page.js';

const text = { files: ['t.txt'], samples: 4, length: 32, tokens: 128, sha256: 'aa' };
const result: LlmResult = llmResultSchema.parse({
  version: 1,
  dopt: '0.1.0',
  model: {
    name: '<b>tiny</b>',
    folder: '/m',
    architecture: 'LlamaForCausalLM',
    family: 'llama',
    blocks: 1,
    parameters: 1000,
    sha256: 'bb',
  },
  strategy: 'int16-4',
  effort: 'balanced',
  quantized: 'quantized',
  digest: 'cc',
  coverage: {
    layers: [
      {
        name: 'model.layers.0.mlp.up_proj',
        block: 0,
        shape: [96, 64],
        bits: 4,
        groupSize: 32,
        strategy: 'Quant_act_weight_eco',
        reason: null,
        bytes: 3456,
        seconds: 0.1,
      },
    ],
    embedding: { name: 'model.embed_tokens', shape: [48, 64], bits: 8, bytes: 3168 },
    uncovered: [{ name: 'model.layers.0.router', reason: 'no linear layer' }],
    covered: 0.995,
    meanBits: 4.5,
    bytes: 6624,
    floatBytes: 18432,
    seconds: 0.1,
    memory: { base: 1, weights: 1, gram: 1, states: 1, total: 4, lockstep: true },
    calibration: { samples: 4, length: 32 },
  },
  calibration: text,
  blocks: [{ block: 0, error: 0.001, rotated: true, seconds: 1 }],
  linears: [
    {
      name: 'model.layers.0.mlp.up_proj',
      chosen: 'gptq',
      fallback: 'damped more',
      error: 0.01,
      errorNearest: 0.02,
      tokens: 128,
    },
  ],
  activations: {
    bits: 16,
    kvBits: 8,
    symmetric: true,
    tensors: 1,
    lowest: [{ name: 'model.layers.0.mlp.up_proj:input', sqnr: 48.5 }],
  },
  distillation: { steps: 10, before: 0.2, after: 0.1, loss: 'kl' },
  score: {
    recipe: 'Windows.',
    text,
    calibrated: true,
    activations: true,
    scored: 124,
    float: { perplexity: 20, nats: 3 },
    quantized: { perplexity: 21, nats: 3.05, kl: 0.05, agreement: 0.9, blocks: [0.002] },
    samples: [{ prompt: 'a', float: '<i>b</i>', quantized: 'c' }],
  },
  memory: { promised: 2e9, peak: 1e9 },
  exports: [{ format: 'gguf', folder: 'exports/gguf', float: 0, notes: ['rounded'] }],
  warnings: ['few samples'],
  seconds: 3,
  stages: [{ name: 'weights', seconds: 2, reused: false, peakBytes: 1e9 }],
  versions: { torch: '1.11.0' },
  command: ['dopt', 'llm', 'quantize', 'my model'],
  files: {},
});

describe('the report of a language model', () => {
  const page = renderLlmReport(result);

  it('says what was lost, where, and how to do it again', () => {
    for (const words of [
      '20 → 21',
      '5.0',
      'model.layers.0.mlp.up_proj',
      'damped more',
      '48.5 dB',
      'few samples',
    ])
      expect(page).toContain(words);
    expect(page).toContain('dopt llm quantize &quot;my model&quot;');
    expect(page).toContain('the text that calibrated');
    expect(page).toContain('model.layers.0.router (no linear layer)');
  });

  it('escapes every name and text', () => {
    expect(page).toContain('&lt;b&gt;tiny&lt;/b&gt;');
    expect(page).not.toMatch(/<b>tiny|<i>b</);
  });

  it('leaves out what there is nothing to say of', () => {
    const bare = renderLlmReport({
      ...result,
      score: null,
      activations: null,
      distillation: null,
      exports: [],
      warnings: [],
    });
    for (const id of ['accuracy', 'samples', 'activations', 'exports', 'warnings'])
      expect(bare).not.toContain(`<section id="${id}"`);
    expect(bare).toContain('Not measured');
  });

  it('has an end in a few lines', () => {
    expect(summarizeLlm(result, 'out').trim().split('\n')).toEqual([
      expect.stringContaining('4.500 bits a decoder weight, 99.50 % covered'),
      expect.stringContaining('perplexity 20 to 21'),
      expect.stringContaining('48.5 dB at model.layers.0.mlp.up_proj:input'),
      expect.stringContaining('1 layers were solved by less'),
      expect.stringContaining('1.00 GB of 2.00 GB promised'),
      'gguf: out/exports/gguf',
      'out/report.html',
    ]);
  });
});
