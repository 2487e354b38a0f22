import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Tensor, writeSafetensors } from '../../src/graph/safetensors.js';

/** Sizes of a tiny Llama. */
interface Sizes {
  hidden: number;
  inner: number;
  vocabulary: number;
  /** Positions that it takes at most. */
  length: number;
}

const TINY: Sizes = { hidden: 64, inner: 96, vocabulary: 48, length: 128 };

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
export function writeLanguageModel(folder: string, sizes: Sizes = TINY): string {
  const { hidden, inner, vocabulary, length } = sizes;
  const random = generator(1);
  const tensors = new Map<string, Tensor>();
  const matrix = (name: string, rows: number, columns: number): void => {
    const data = Float32Array.from({ length: rows * columns }, () => (random() - 0.5) / 4);
    tensors.set(`${name}.weight`, { shape: [rows, columns], data });
  };
  const norm = (name: string): void => {
    tensors.set(`${name}.weight`, { shape: [hidden], data: new Float32Array(hidden).fill(1) });
  };
  matrix('model.embed_tokens', vocabulary, hidden);
  for (const block of [0, 1].map((index) => `model.layers.${index}`)) {
    for (const part of ['q', 'k', 'v', 'o']) matrix(`${block}.self_attn.${part}_proj`, hidden, hidden);
    matrix(`${block}.mlp.gate_proj`, inner, hidden);
    matrix(`${block}.mlp.up_proj`, inner, hidden);
    matrix(`${block}.mlp.down_proj`, hidden, inner);
    norm(`${block}.input_layernorm`);
    norm(`${block}.post_attention_layernorm`);
  }
  norm('model.norm');
  mkdirSync(folder, { recursive: true });
  writeSafetensors(join(folder, 'model.safetensors'), tensors);
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: hidden,
    intermediate_size: inner,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    max_position_embeddings: length,
    vocab_size: vocabulary,
    tie_word_embeddings: true,
    torch_dtype: 'float32',
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  return folder;
}

/** A Llama with a tokenizer, which reads any text, and layers that groups of 128 divide. */
export function writeTextModel(folder: string): string {
  const { vocab, ...tokenizer } = byteTokenizer();
  const vocabulary = Object.keys(vocab).length;
  writeLanguageModel(folder, { hidden: 128, inner: 256, vocabulary, length: 1024 });
  const settings = {
    bos_token: '<s>',
    add_bos_token: true,
    tokenizer_class: 'PreTrainedTokenizerFast',
    chat_template: "{% for message in messages %}{{ message['content'] }}{% endfor %}",
  };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(settings));
  return folder;
}

/** tokenizer.json of a byte-level BPE without merges: a token a byte, as GPT-2 writes bytes as letters. */
function byteTokenizer() {
  const printed = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !printed(byte));
  const letter = (byte: number): string =>
    String.fromCharCode(printed(byte) ? byte : 256 + others.indexOf(byte));
  const vocab = Object.fromEntries(['<s>', ...bytes.map(letter)].map((token, id) => [token, id]));
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    vocab,
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [{ id: 0, content: '<s>', special: true, ...flags }],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: 'BPE', vocab, merges: [], byte_fallback: false, unk_token: null },
  };
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
  const tokens = Int32Array.from({ length: count }, () => Math.floor(random() * TINY.vocabulary));
  writeFileSync(path, Buffer.concat([head, Buffer.from(tokens.buffer)]));
  return path;
}
