import { describe, expect, it } from 'vitest';
import type { UserError } from '../errors.js';
import { coverage } from './coverage.js';
import { usualCalibration } from './estimate.js';
import { layerFile, parseLayerFile } from './layer-file.js';
import { type LlmInspection, planLayers } from './layer-plan.js';
import { parseMemory, promiseMemory, requireMemory } from './memory.js';
import { planTable } from './plan.js';

const linear = (name: string, block: number | null, shape: [number, number]) => ({
  name,
  kind: (name.includes('experts') ? 'expert' : 'linear') as 'linear',
  block,
  shape,
  bias: false,
  head: block === null,
});
const blocks = [0, 1];
const model: LlmInspection = {
  architecture: 'MixtralForCausalLM',
  family: 'mixtral',
  blocks: 2,
  blockClass: 'MixtralDecoderLayer',
  hidden: 256,
  vocabulary: 1000,
  context: 128,
  parameters: 900_000,
  bytes: 3_600_000,
  fileBytes: 1_800_000,
  tied: false,
  norm: 'rms',
  linears: [
    ...blocks.flatMap((block) => [
      linear(`model.layers.${block}.self_attn.q_proj`, block, [256, 256]),
      ...[0, 1].map((expert) =>
        linear(`model.layers.${block}.mlp.experts.down_proj.${expert}`, block, [256, 512]),
      ),
    ]),
    linear('lm_head', null, [1000, 256]),
  ],
  embedding: { name: 'model.embed_tokens', shape: [1000, 256] },
  uncovered: blocks.map((block) => ({ name: `model.layers.${block}.conv.weight`, shape: [4, 4, 4] })),
  rotation: { possible: false, reason: 'LayerNorm' },
  unexportable: [],
  tokenizer: null,
  whole: null,
  blockBytes: 4e6,
  outsideBytes: 2e6,
  storedBlockBytes: 2e6,
  baseBytes: 5e8,
  heads: 4,
  textTokens: null,
  sha256: '',
  versions: { torch: '', transformers: '' },
};
const widths = {
  bits: 4 as const,
  groupSize: null,
  headBits: 8 as const,
  embeddingBits: 8 as const,
  bitsBudget: null,
  fullRange: true,
};
const plan = planLayers(model, widths, null, { bits: 16, kvBits: 16, symmetric: true });
const size = { samples: 128, length: 128 };
const usual = { effort: 'balanced', rotate: 'auto', batch: 4, threads: 2, memory: null } as const;
const covered = coverage(model, plan, size, usual);

describe('a plan', () => {
  it('counts what becomes integers, and its bytes to the last scale', () => {
    expect(covered.covered).toBeCloseTo(1 - 128 / (2 * (256 * 256 + 2 * 256 * 512) + 128), 6);
    const down = covered.layers.find(({ name }) => name.endsWith('down_proj.0'))!;
    expect(down.bytes).toBe((256 * 512 * 4) / 8 + 256 * (512 / 128) * 2);
    expect(covered.meanBits).toBe(4.125);
  });

  it('is a table with a line for layers that are alike', () => {
    const { linears: _, ...rest } = model;
    const text = planTable({ model: rest, coverage: covered, refusal: null });
    expect(text.split('\n')[2]).toMatch(/^model\.layers\.\*\.mlp\.experts\.down_proj\.\*\s+4\s+256x512/);
    expect(text).toContain('float: model.layers.0.conv.weight (no linear layer)');
    expect(text).toContain('No rotation: LayerNorm.');
  });

  it('is a layer file that is read back to the same plan', () => {
    const text = JSON.stringify(layerFile(model, plan));
    const layers = parseLayerFile(text, 'dopt_config.json');
    expect(Object.keys(layers)).toContain('model.layers.0.mlp.experts.down_proj.*');
    expect(planLayers(model, widths, layers, { bits: 16, kvBits: 16, symmetric: true }).linears).toEqual(
      plan.linears,
    );
  });
});

describe('memory', () => {
  /** Three chunks of targets in double, and tokens that judge. */
  const parts = 3 * 12 * 2 ** 20;
  const judged = (outputs: number, inputs: number): number => 4 * 256 * (2 * inputs + outputs);

  it('is the program, what lies outside, and the worst moment of a block', () => {
    const { base, weights, gram, states, total, lockstep } = promiseMemory(model, plan, size, usual);
    const tokens = 128 * 128;
    const share = 1 + 12 / 32; // of 32 batches four judge, and errors before a layer are learned from eight
    expect([base, lockstep]).toEqual([5e8, true]);
    expect(weights).toBe(2e6 + 2e6 + 4 * 256 * 512 + 220e6);
    expect(gram).toBe(0); // passes run through attention
    const running = 4 * (2 * 4 * 128) * (2 * 4 * 128 + 4 * 256);
    expect(states).toBe(4 * share * tokens * (256 + 4 * 128 + 5 * 256) + running);
    expect(total).toBe(base + weights + gram + states);
  });

  it('holds the sums of the widest layer once, and of what its outputs lack, where they are fewer', () => {
    const few = { samples: 4, length: 32 };
    const of = (name: string): { gram: number; weights: number } => {
      const linears = model.linears.map((one) =>
        one.shape[1] === 512 ? { ...one, name: one.name.replace('experts', name), shape: [256, 4096] } : one,
      );
      return promiseMemory({ ...model, linears }, plan, few, usual);
    };
    expect(of('experts').gram).toBe(3 * 8 * 4096 ** 2); // two, and that of both
    const { gram, weights } = of('dense');
    const own = 256 * 4096;
    expect(gram).toBe(8 * 4096 ** 2 + 4 * own);
    const least = 175e6 + 2e6 + 256 * 256 + 2 * own + 6 * own + judged(256, 4096);
    expect(weights).toBeGreaterThan(least);
    expect(weights).toBeLessThan(least + 2e6 + parts + 4 * 64 * 4096);
  });

  it('holds all weights where they cannot be read one by one, and a block in float32 where it is turned', () => {
    const weights = (changes: Partial<LlmInspection>): number =>
      promiseMemory({ ...model, ...changes }, plan, size, usual).weights;
    expect(weights({ whole: 'tied blocks' }) - weights({})).toBe(3.6e6 - 2e6 - 2e6);
    expect(weights({ rotation: { possible: true, reason: null } }) - weights({})).toBe(2e6 + 250e6);
  });

  it('does not let passes wait that would hold more than a quarter of what may be used', () => {
    const { states, lockstep } = promiseMemory(model, plan, size, { ...usual, memory: 5e7 });
    expect(lockstep).toBe(false);
    expect(states).toBeLessThan(promiseMemory(model, plan, size, usual).states);
  });

  it('counts a head of many tokens where that is the worst moment', () => {
    const large = model.linears.map((one) => (one.head ? { ...one, shape: [100_000, 256] } : one));
    const { gram, weights } = promiseMemory({ ...model, linears: large }, plan, size, usual);
    expect(gram).toBe(8 * 256 ** 2);
    expect(weights).toBe(220e6 + 2e6 + 100_000 * 256 * 2 + judged(100_000, 256) + parts);
  });

  it('is refused early, with the number of samples that would fit', () => {
    const estimate = promiseMemory(model, plan, size, usual);
    const limit = estimate.total - estimate.states / 2;
    expect(() => requireMemory(estimate, estimate.total, size)).not.toThrow();
    try {
      requireMemory(estimate, limit, size);
      expect.unreachable();
    } catch (error) {
      expect((error as UserError).code).toBe('LLM_MEMORY');
      expect((error as UserError).suggestions[0]).toContain('--samples 64');
    }
  });

  it.each([
    ['8G', 8e9],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['500 mb', 5e8],
  ])('is read from %s', (text, value) => {
    expect(parseMemory(text)).toBe(value);
  });

  it.each(['', '8X', '0', '-1G'])('is not read from %j', (text) => {
    expect(() => parseMemory(text)).toThrow('--memory');
  });
});

it('calibrates within the context of the model', () => {
  expect(usualCalibration(model)).toEqual({ samples: 128, length: 128 });
  expect(usualCalibration({ parameters: 2e9, context: null })).toEqual({ samples: 32, length: 512 });
});
