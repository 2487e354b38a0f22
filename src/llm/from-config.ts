import { existsSync } from 'node:fs';
import { distillationFrom } from './distillation.js';
import { readLayerFile } from './layer-file.js';
import type { LlmOptions } from './options.js';
import type { StageOptions } from './original-stages.js';
import { type LlmConfig, parseLlmConfig, readLlmConfig } from './read-config.js';

/** What a stage is given beside its options. */
export interface ConfigFiles {
  /** config.yaml; null for its defaults. */
  config: string | null;
  /** dopt_config.json; need not exist. */
  layers: string | null;
  /** Text to calibrate with; empty for what config.yaml names. */
  data: string[];
}

/**
 * A stage's options: those given, with what config.yaml and dopt_config.json say put in.
 *
 * Rejects with UserError LLM_CONFIG_INVALID, DOPT_CONFIG_INVALID, LLM_DATASET_NAME.
 */
export async function stageOptionsFrom(
  llm: LlmOptions,
  { config: file, layers, data }: ConfigFiles,
): Promise<StageOptions> {
  const config: LlmConfig = file === null ? parseLlmConfig('', 'config.yaml') : await readLlmConfig(file);
  const files = data.length > 0 ? data : config.dataset.train_files;
  const { samples, length } = llm.calibration;
  return {
    llm: {
      ...llm,
      calibration: {
        ...llm.calibration,
        files,
        samples: samples ?? Math.min(config.num_samples, config.dataset.ptq_samples),
        length: length ?? config.cutoff_len,
      },
      layers: layers !== null && existsSync(layers) ? await readLayerFile(layers) : null,
      distillation: distillationFrom(config, files),
      verify: false,
    },
    layerFile: layers,
    quantParam2: config.quant_param_2,
    embeddingSeparate: config.embedding_separate,
    lmHeadSize: config.lm_head_size ?? null,
    dtype: null,
  };
}
