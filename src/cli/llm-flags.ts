import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { TORCH_PROFILES, type TorchProfile } from '../bridge/profiles.js';
import { LLM_FORMATS } from '../bridge/protocol-llm.js';
import { EXIT, UserError } from '../errors.js';
import { GROUP_SIZES } from '../llm/group-size.js';
import { parseMemory } from '../llm/memory.js';
import {
  LLM_EFFORTS,
  type LlmEffort,
  type LlmModelOptions,
  type LlmOptions,
  type LlmText,
} from '../llm/options.js';
import { decimal, deviceFlags, gpuFrom, runtimeFlags } from './flags.js';

/** What runs the model. */
export const llmModelFlags = {
  'trust-remote-code': Flags.boolean({
    default: false,
    description: 'run Python code that lies in the model folder',
    helpGroup: 'MODEL',
  }),
  profile: Flags.string({
    options: [...TORCH_PROFILES],
    description: 'packages that run the model; torch: 1.11, current: newest (default: newest that is there)',
    helpGroup: 'MODEL',
  }),
  batch: Flags.integer({
    default: 4,
    min: 1,
    description: 'samples that go through a block together',
    helpGroup: 'RUN',
  }),
  ...runtimeFlags,
  ...deviceFlags,
};

/** Text, and how it becomes samples. */
export const llmTextFlags = {
  data: Flags.string({
    multiple: true,
    description: 'text: .txt, .json and .jsonl of objects with "text", .npy of token numbers',
    helpGroup: 'DATA',
  }),
  samples: Flags.integer({
    min: 1,
    description: 'samples (default: by size of the model)',
    helpGroup: 'DATA',
  }),
  length: Flags.integer({ min: 2, description: 'tokens of a sample (default: 512)', helpGroup: 'DATA' }),
  chat: Flags.boolean({
    default: false,
    description: "put each document into the tokenizer's chat template",
    helpGroup: 'DATA',
  }),
  bos: Flags.boolean({
    default: true,
    allowNo: true,
    description: 'begin every sample with BOS, where there is one',
    helpGroup: 'DATA',
  }),
};

/** Widths of weights and activations. */
export const llmWidthFlags = {
  bits: Flags.integer({
    options: ['4', '8'],
    default: 4,
    description: 'bits of decoder weights: 4 or 8',
    helpGroup: 'WIDTHS',
  }),
  'group-size': Flags.string({
    options: [...GROUP_SIZES.map(String), 'channel'],
    description: 'inputs that share a scale (default: 128, or what divides; channel: all of a row)',
    helpGroup: 'WIDTHS',
  }),
  'head-bits': Flags.string({
    options: ['4', '8', 'float'],
    default: '8',
    description: 'bits of lm_head',
    helpGroup: 'WIDTHS',
  }),
  'embedding-bits': Flags.string({
    options: ['8', 'float'],
    default: '8',
    description: 'bits of the embedding',
    helpGroup: 'WIDTHS',
  }),
  'bits-budget': decimal({
    description: 'widen layers to 8 bits up to this mean of bits a weight, scales included: 4.25',
    helpGroup: 'WIDTHS',
  }),
  sensitivity: Flags.string({
    description: 'folder of an earlier run whose errors say which layers to widen (default: by rule)',
    helpGroup: 'WIDTHS',
  }),
  'narrow-range': Flags.boolean({
    default: false,
    description: 'weights of -7..7 instead of -8..7',
    helpGroup: 'WIDTHS',
  }),
  'dopt-config': Flags.string({
    description: 'dopt_config.json: widths by layer, names or patterns (default: what is sensible)',
    helpGroup: 'WIDTHS',
  }),
  'activation-bits': Flags.string({
    options: ['16', '8', 'float'],
    default: '16',
    description: 'bits of activations',
    helpGroup: 'WIDTHS',
  }),
  'kv-bits': Flags.string({
    options: ['16', '8'],
    description: 'bits of the cache of keys and values (default: those of activations)',
    helpGroup: 'WIDTHS',
  }),
  asymmetric: Flags.boolean({
    default: false,
    description: 'activations with zero points',
    helpGroup: 'WIDTHS',
  }),
};

/** How the work is done. */
export const llmWorkFlags = {
  effort: Flags.string({
    options: [...LLM_EFFORTS],
    default: 'balanced',
    description: 'preview: to nearest; fast: GPTQ; balanced: makes up for earlier errors; best: more of it',
    helpGroup: 'RUN',
  }),
  rotate: Flags.string({
    options: ['auto', 'always', 'never'],
    default: 'auto',
    description: 'Hadamard rotations folded into the weights',
    helpGroup: 'RUN',
  }),
  memory: Flags.string({
    description: 'memory that may be used: 8G; refused early when it is too little',
    helpGroup: 'RUN',
  }),
  processes: Flags.integer({
    default: 1,
    min: 1,
    description: 'that distillation trains in, each with a copy of the model',
    helpGroup: 'RUN',
  }),
  seed: Flags.integer({ default: 0, min: 0, description: 'of rotations', helpGroup: 'RUN' }),
};

/** What the flags above give; those that a command does not have are left out. */
export interface LlmModelValues {
  'trust-remote-code'?: boolean | undefined;
  profile?: string | undefined;
  env?: string | undefined;
  threads?: number | undefined;
  batch?: number | undefined;
  device?: string | undefined;
  'device-index'?: number[] | undefined;
}
export interface LlmTextValues {
  data?: string[] | undefined;
  samples?: number | undefined;
  length?: number | undefined;
  chat?: boolean | undefined;
  bos?: boolean | undefined;
}
export interface LlmQuantizeValues extends LlmModelValues, LlmTextValues {
  bits?: number | undefined;
  'group-size'?: string | undefined;
  'head-bits'?: string | undefined;
  'embedding-bits'?: string | undefined;
  'bits-budget'?: number | undefined;
  sensitivity?: string | undefined;
  'narrow-range'?: boolean | undefined;
  'dopt-config'?: string | undefined;
  'activation-bits'?: string | undefined;
  'kv-bits'?: string | undefined;
  asymmetric?: boolean | undefined;
  effort?: string | undefined;
  rotate?: string | undefined;
  memory?: string | undefined;
  processes?: number | undefined;
  seed?: number | undefined;
}

const absolute = (files: readonly string[] | undefined): string[] =>
  (files ?? []).map((file) => resolve(file));

/** The model and what runs it. */
export const llmModelFrom = (model: string, flags: LlmModelValues): LlmModelOptions => ({
  model: resolve(model),
  trustRemoteCode: flags['trust-remote-code'] ?? false,
  environment: (flags.env ?? 'venv') as 'venv',
  profile: (flags.profile as TorchProfile | undefined) ?? null,
  threads: flags.threads ?? availableParallelism(),
  batch: flags.batch ?? 4,
  gpu: gpuFrom(flags),
});

export const llmTextFrom = (flags: LlmTextValues): LlmText => ({
  files: absolute(flags.data),
  samples: flags.samples ?? null,
  length: flags.length ?? null,
  chat: flags.chat ?? false,
  bos: flags.bos ?? true,
});

/** Everything that flags say of a quantization; distillation, verification and formats are added by the command. */
export async function llmOptionsFrom(
  model: string,
  out: string,
  flags: LlmQuantizeValues,
): Promise<LlmOptions> {
  const groupSize = flags['group-size'];
  // A command that lacks a flag means its default.
  const bits = (width: string | undefined, usual: number): number | null =>
    width === 'float' ? null : Number(width ?? usual);
  const activationBits = bits(flags['activation-bits'], 16);
  const { readLayerFile } = await import('../llm/layer-file.js');
  const file = flags['dopt-config'];
  return {
    ...llmModelFrom(model, flags),
    out: resolve(out),
    resume: false,
    calibration: llmTextFrom(flags),
    widths: {
      bits: (flags.bits ?? 4) as 4,
      groupSize: groupSize === undefined ? null : groupSize === 'channel' ? 0 : Number(groupSize),
      headBits: bits(flags['head-bits'], 8) as 8 | null,
      embeddingBits: bits(flags['embedding-bits'], 8) as 8 | null,
      bitsBudget: flags['bits-budget'] ?? null,
      fullRange: !flags['narrow-range'],
    },
    layers: file === undefined ? null : await readLayerFile(resolve(file)),
    effort: (flags.effort ?? 'balanced') as LlmEffort,
    rotate: (flags.rotate ?? 'auto') as 'auto',
    activations:
      activationBits === null
        ? null
        : {
            bits: activationBits as 16,
            kvBits: Number(flags['kv-bits'] ?? activationBits) as 16,
            symmetric: !flags.asymmetric,
          },
    distillation: null,
    verification: null,
    verify: true,
    prompts: [],
    memory: flags.memory === undefined ? null : parseMemory(flags.memory),
    sensitivity: flags.sensitivity === undefined ? null : resolve(flags.sensitivity),
    exports: [],
    processes: flags.processes ?? 1,
    seed: flags.seed ?? 0,
  };
}

/** @throws UserError LLM_NO_TEXT */
export function requireText(files: readonly string[]): void {
  if (files.length > 0) return;
  throw new UserError('LLM_NO_TEXT', 'No text was given to calibrate with.', {
    exitCode: EXIT.usage,
    expected: '--data FILE: some ten thousand words of the kind that the model will see',
    suggestions: ['Give text: .txt, or .json and .jsonl of objects with "text", several files if you like.'],
  });
}

export const llmFormatFlag = (description: string) =>
  Flags.string({
    options: [...LLM_FORMATS],
    multiple: true,
    delimiter: ',',
    description,
    helpGroup: 'RESULT',
  });
