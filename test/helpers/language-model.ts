import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Tensor, writeSafetensors } from '../../src/graph/safetensors.js';

const HIDDEN = 64;
const INNER = 96;
const VOCABULARY = 48;

/** A generator of equal numbers each time (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A Llama of two blocks with random weights and without a tokenizer, as transformers saves it. */
export function writeLanguageModel(folder: string): string {
  const random = generator(1);
  const tensors = new Map<string, Tensor>();
  const matrix = (name: string, rows: number, columns: number): void => {
    const data = Float32Array.from({ length: rows * columns }, () => (random() - 0.5) / 4);
    tensors.set(`${name}.weight`, { shape: [rows, columns], data });
  };
  const norm = (name: string): void => {
    tensors.set(`${name}.weight`, { shape: [HIDDEN], data: new Float32Array(HIDDEN).fill(1) });
  };
  matrix('model.embed_tokens', VOCABULARY, HIDDEN);
  for (const block of [0, 1].map((index) => `model.layers.${index}`)) {
    for (const part of ['q', 'k', 'v', 'o']) matrix(`${block}.self_attn.${part}_proj`, HIDDEN, HIDDEN);
    matrix(`${block}.mlp.gate_proj`, INNER, HIDDEN);
    matrix(`${block}.mlp.up_proj`, INNER, HIDDEN);
    matrix(`${block}.mlp.down_proj`, HIDDEN, INNER);
    norm(`${block}.input_layernorm`);
    norm(`${block}.post_attention_layernorm`);
  }
  norm('model.norm');
  mkdirSync(folder, { recursive: true });
  writeSafetensors(join(folder, 'model.safetensors'), tensors);
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: HIDDEN,
    intermediate_size: INNER,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    max_position_embeddings: 128,
    vocab_size: VOCABULARY,
    tie_word_embeddings: true,
    torch_dtype: 'float32',
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  return folder;
}

/** Random token numbers as a `.npy` file of int32. */
export function writeTokens(path: string, count: number): string {
  const random = generator(2);
  const header = `{'descr': '<i4', 'fortran_order': False, 'shape': (${count},), }`;
  const padded = `${header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11)}\n`;
  const head = Buffer.concat([
    Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
    Buffer.alloc(2),
    Buffer.from(padded),
  ]);
  head.writeUInt16LE(padded.length, 8);
  const tokens = Int32Array.from({ length: count }, () => Math.floor(random() * VOCABULARY));
  writeFileSync(path, Buffer.concat([head, Buffer.from(tokens.buffer)]));
  return path;
}
