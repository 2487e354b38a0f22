import { describe, expect, it } from 'vitest';
import type { UserError } from '../errors.js';
import { parseLayerFile } from './layer-file.js';
import { parseLlmConfig } from './read-config.js';

const failure = (work: () => unknown): UserError => {
  try {
    work();
  } catch (error) {
    return error as UserError;
  }
  throw new Error('nothing was thrown');
};

describe('config.yaml', () => {
  it('has the original defaults', () => {
    const config = parseLlmConfig('', 'c.yaml');
    expect(config.kd).toMatchObject({
      enable: false,
      loss: 'mse',
      micro_batch_size: 2,
      gradient_accumulation_steps: 4,
      weight_decay: 0,
      warmup_steps: 10,
      num_epochs: 3,
      learning_rate: 1e-4,
      eval_step: 1,
      logging_step: 50,
      lr_scheduler_type: 'cosine',
      trainable_keys: ['quant_alpha', 'norm'],
    });
    expect(config.dataset).toEqual({ train_files: [], train_samples: 1024, ptq_samples: 1024 });
    expect(config).toMatchObject({
      cutoff_len: 128,
      num_samples: 256,
      quant_param_2: false,
      embedding_separate: true,
      extra_training_config: { fp16: true },
    });
  });

  it('finds its data beside it, and takes older names', () => {
    const config = parseLlmConfig(
      'dataset:\n  train_files: data/a.json\nlut_mode: true\nembedding_in_omc: true\n',
      '/x/c.yaml',
    );
    expect(config.dataset.train_files).toEqual(['/x/data/a.json']);
    expect([config.quant_param_2, config.embedding_separate]).toEqual([true, false]);
  });

  it.each<[string, string, string, RegExp]>([
    ['an unknown key', 'kd:\n  enabel: true\n', 'c.yaml:2:3', /enable\?/],
    ['a wrong type', 'cutoff_len: many\n', 'c.yaml:1:13', /cutoff_len/],
    ['two names of a thing', 'lut_mode: true\nquant_param_2: true\n', 'c.yaml', /lut_mode/],
    ['no YAML', 'kd: [\n', 'c.yaml:2:1', /YAML|config/],
  ])('refuses %s with its place', (_, text, place, words) => {
    const error = failure(() => parseLlmConfig(text, 'c.yaml'));
    expect(error.code).toBe('LLM_CONFIG_INVALID');
    expect(error.place).toBe(place);
    expect([error.message, ...error.suggestions].join('\n')).toMatch(words);
  });

  it('says that a data set by name is not downloaded', () => {
    const error = failure(() => parseLlmConfig('dataset: {train_files: wikitext2}\n', 'c.yaml'));
    expect(error.code).toBe('LLM_DATASET_NAME');
  });
});

describe('dopt_config.json', () => {
  const entry =
    '{"type": "Linear", "quant_strategy": "Quant_act_weight_eco", "weight": {"bit": 4, "group_size": 128}}';

  it('has layers at its top or inside of layer_strategy, and may have trailing commas', () => {
    const flat = parseLayerFile(`{"a": ${entry},}`, 'd.json');
    expect(flat).toEqual(parseLayerFile(`{"layer_strategy": {"a": ${entry}}}`, 'd.json'));
    expect(flat.a?.weight).toEqual({ bit: 4, group_size: 128 });
  });

  it('refuses unknown keys and strategies, with near ones and places', () => {
    const key = failure(() => parseLayerFile('{"a":\n {"weights": {"bit": 4}}}', 'd.json'));
    expect([key.code, key.place]).toEqual(['DOPT_CONFIG_INVALID', 'd.json:2:3']);
    expect(key.suggestions[0]).toBe('Did you mean weight?');
    const strategy = failure(() =>
      parseLayerFile('{"a": {"quant_strategy": "Quant_act_weigth_eco"}}', 'd.json'),
    );
    expect(strategy.suggestions[0]).toBe('Did you mean Quant_act_weight_eco?');
    const size = failure(() => parseLayerFile('{"a": {"weight": {"group_size": 48}}}', 'd.json'));
    expect(size.expected).toContain('128');
  });
});
