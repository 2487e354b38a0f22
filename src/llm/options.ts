import type { EnvironmentKind, TorchProfile } from '../bridge/profiles.js';
import type { LlmFormat } from '../bridge/protocol-llm.js';
import type { LlmLayers } from '../config/llm-layers.js';

export const LLM_EFFORTS = ['preview', 'fast', 'balanced', 'best'] as const;
export type LlmEffort = (typeof LLM_EFFORTS)[number];

/** Where the model is, and what runs it. */
export interface LlmModelOptions {
  /** Hugging Face folder. */
  model: string;
  trustRemoteCode: boolean;
  environment: EnvironmentKind;
  /** null: `current` where it is there, else `torch`, else `current` is made. */
  profile: TorchProfile | null;
  threads: number;
  /** Samples that go through a block together. */
  batch: number;
  /** Index of the GPU that runs the model; null for the processor. */
  gpu: number | null;
}

/** Text that calibrates, or scores. */
export interface LlmText {
  files: string[];
  /** null: as many as suit the model's size. */
  samples: number | null;
  /** Tokens a sample; null: as suits the model. */
  length: number | null;
  chat: boolean;
  bos: boolean;
}

/** Widths of weights. */
export interface LlmWidths {
  /** Of decoder linears. */
  bits: 4 | 8;
  /** Inputs that share a scale; 0: all of a row; null: 128, or the most of 64 and 32 that divides a layer's inputs. */
  groupSize: number | null;
  headBits: 4 | 8 | null;
  embeddingBits: 8 | null;
  /** Mean bits of a decoder weight, scales included, that wider layers may bring it to; null for one width. */
  bitsBudget: number | null;
  /** Whether −8 is used: −8..7, or −7..7. */
  fullRange: boolean;
}

export interface LlmActivations {
  bits: 8 | 16;
  /** Of keys and values as they lie in the cache. */
  kvBits: 8 | 16;
  symmetric: boolean;
}

/** How distillation trains; the original's keys of `kd`. */
export interface LlmDistillation {
  files: string[];
  samples: number;
  length: number;
  loss: 'kl' | 'mse';
  epochs: number;
  microBatch: number;
  accumulation: number;
  learningRate: number;
  weightDecay: number;
  warmupSteps: number;
  schedule: 'cosine' | 'linear' | 'constant';
  trainable: ('scales' | 'norms')[];
  checkpointSteps: number;
}

/** What `dopt llm quantize` is asked for. */
export interface LlmOptions extends LlmModelOptions {
  out: string;
  resume: boolean;
  calibration: LlmText;
  widths: LlmWidths;
  /** dopt_config.json; null for what is sensible. */
  layers: LlmLayers | null;
  effort: LlmEffort;
  rotate: 'never' | 'auto' | 'always';
  /** null leaves activations in float. */
  activations: LlmActivations | null;
  distillation: LlmDistillation | null;
  /** Text that scores the result; null takes the one that calibrates, and says so. */
  verification: LlmText | null;
  /** Score at all. */
  verify: boolean;
  prompts: string[];
  /** Bytes that may be used; null for no limit. */
  memory: number | null;
  /** Result of an earlier run whose errors say which layers need more bits; null goes by rule. */
  sensitivity: string | null;
  exports: LlmFormat[];
  /** That distillation trains in, each with a copy of the model and a share of the samples. */
  processes: number;
  seed: number;
}
