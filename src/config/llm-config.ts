import { z } from 'zod';

/** Weights that distillation may train, by the original's names. */
const TRAINABLE = ['quant_alpha', 'norm'] as const;

/** Decoder blocks that the original knows; kept for its files, found by themselves here. */
const BLOCK_CLASSES = [
  'Qwen2DecoderLayer',
  'Qwen3DecoderLayer',
  'GlmDecoderLayer',
  'LlamaDecoderLayer',
  'HunYuanDecoderLayer',
];

const wholeAbove0 = z.number().int().positive();

/**
 * config.yaml of a language model's stages: the original tool's keys and defaults. `lut_mode` and `embedding_in_omc` are
 * what older versions called `quant_param_2` and the opposite of `embedding_separate`.
 */
export const llmConfigSchema = z.strictObject({
  kd: z
    .strictObject({
      enable: z.boolean().default(false).describe('distil from the float model after the weights are solved'),
      loss: z.enum(['mse', 'kl']).default('mse').describe('between the logits; kl is not of the original'),
      micro_batch_size: wholeAbove0.default(2),
      gradient_accumulation_steps: wholeAbove0.default(4),
      weight_decay: z.number().nonnegative().default(0),
      warmup_steps: z.number().int().nonnegative().default(10),
      num_epochs: z.number().positive().default(3),
      learning_rate: z.number().positive().default(1e-4),
      eval_step: wholeAbove0.default(1).describe('read and not used: judging follows the checkpoints'),
      logging_step: wholeAbove0.default(50).describe('steps between two checkpoints'),
      lr_scheduler_type: z.enum(['cosine', 'linear', 'constant']).default('cosine'),
      trainable_keys: z
        .array(z.enum(TRAINABLE))
        .min(1)
        .default([...TRAINABLE]),
      no_split_module_classes: z
        .array(z.string())
        .default(BLOCK_CLASSES)
        .describe('read and not used: no process holds more than a layer'),
    })
    .prefault({}),
  dataset: z
    .strictObject({
      train_files: z
        .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
        .optional()
        .describe('JSON list of objects with "text", or text files; relative to this file'),
      train_samples: wholeAbove0.default(1024).describe('samples that distillation learns from at most'),
      ptq_samples: wholeAbove0.default(1024).describe('samples that calibrate at most'),
    })
    .prefault({}),
  extra_training_config: z
    .strictObject({ fp16: z.boolean().default(true).describe('read and not used: training is in float32') })
    .prefault({}),
  cutoff_len: z.number().int().min(2).default(128).describe('tokens of a sample'),
  num_samples: wholeAbove0.default(256).describe('samples that calibrate'),
  quant_param_2: z
    .boolean()
    .optional()
    .describe('true: Kirin 9020 and 9030, 4-bit weights as indices 0..15 of -8..7; false: Kirin X90'),
  embedding_separate: z.boolean().optional().describe('write the embedding into files of its own'),
  lm_head_size: wholeAbove0.optional().describe('rows that lm_head is padded to'),
  lut_mode: z.boolean().optional().describe('older name of quant_param_2'),
  embedding_in_omc: z.boolean().optional().describe('older, the opposite of embedding_separate'),
});
export type LlmConfigFile = z.infer<typeof llmConfigSchema>;
