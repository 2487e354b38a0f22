import type { LlmDistillation, LlmText } from './options.js';
import type { LlmConfig } from './read-config.js';

/** Distillation as is sensible where nothing is said: on the text that calibrates, by divergence. */
export const usualDistillation = (text: LlmText): LlmDistillation => ({
  files: text.files,
  samples: 256,
  length: text.length ?? 256,
  loss: 'kl',
  epochs: 1,
  microBatch: 2,
  accumulation: 4,
  learningRate: 1e-4,
  weightDecay: 0,
  warmupSteps: 10,
  schedule: 'cosine',
  trainable: ['scales', 'norms'],
  checkpointSteps: 50,
});

const TRAINABLE = { quant_alpha: 'scales', norm: 'norms' } as const;

/** Distillation as config.yaml asks for; null where it does not. */
export function distillationFrom(
  { kd, dataset, cutoff_len }: LlmConfig,
  files: string[],
): LlmDistillation | null {
  if (!kd.enable) return null;
  return {
    files,
    samples: dataset.train_samples,
    length: cutoff_len,
    loss: kd.loss,
    epochs: kd.num_epochs,
    microBatch: kd.micro_batch_size,
    accumulation: kd.gradient_accumulation_steps,
    learningRate: kd.learning_rate,
    weightDecay: kd.weight_decay,
    warmupSteps: kd.warmup_steps,
    schedule: kd.lr_scheduler_type,
    trainable: kd.trainable_keys.map((key) => TRAINABLE[key]),
    checkpointSteps: kd.logging_step,
  };
}
