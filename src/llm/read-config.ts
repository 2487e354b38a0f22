import { dirname, resolve } from 'node:path';
import { type LlmConfigFile, llmConfigSchema } from '../config/llm-config.js';
import { readTextFile } from '../config/text-file.js';
import { parseYaml, type YamlKind } from '../config/yaml.js';
import { UserError } from '../errors.js';

const KIND: YamlKind = {
  code: 'LLM_CONFIG_INVALID',
  never: 'no config.yaml',
  advice: 'Give the config.yaml of the stages.',
  check: 'Mend the file, or leave keys out: all have defaults.',
};

/** config.yaml with defaults filled in, older names translated and paths absolute. */
export interface LlmConfig extends Omit<LlmConfigFile, 'lut_mode' | 'embedding_in_omc' | 'dataset'> {
  quant_param_2: boolean;
  embedding_separate: boolean;
  dataset: { train_files: string[]; train_samples: number; ptq_samples: number };
}

/**
 * Reads config.yaml.
 * @throws UserError LLM_CONFIG_INVALID with file, line and column; LLM_DATASET_NAME for a data set by name
 */
export async function readLlmConfig(path: string): Promise<LlmConfig> {
  return parseLlmConfig(await readTextFile(path, KIND), path);
}

/** config.yaml from its text; `path` is named in errors, and relative paths begin at its folder. */
export function parseLlmConfig(text: string, path: string): LlmConfig {
  // An empty file is one with every key left out.
  const blank = /^(\s|#.*|---)*$/.test(text);
  const file = blank ? llmConfigSchema.parse({}) : parseYaml(text, path, llmConfigSchema, KIND);
  const { lut_mode, embedding_in_omc, dataset, ...rest } = file;
  for (const [older, newer] of [
    ['lut_mode', 'quant_param_2'],
    ['embedding_in_omc', 'embedding_separate'],
  ] as const) {
    if (file[older] !== undefined && file[newer] !== undefined) {
      throw new UserError(
        'LLM_CONFIG_INVALID',
        `${path} gives ${newer} and ${older}, which are two names of it.`,
        {
          place: path,
          suggestions: [`Leave ${older} out.`],
        },
      );
    }
  }
  const files = [dataset.train_files ?? []].flat();
  return {
    ...rest,
    quant_param_2: file.quant_param_2 ?? lut_mode ?? false,
    embedding_separate:
      file.embedding_separate ?? (embedding_in_omc === undefined ? true : !embedding_in_omc),
    dataset: { ...dataset, train_files: files.map((file) => dataFile(file, path)) },
  };
}

function dataFile(name: string, config: string): string {
  if (/\.\w+$/.test(name)) return resolve(dirname(config), name);
  throw new UserError('LLM_DATASET_NAME', `${config}: train_files ${name} names a data set, not a file.`, {
    place: config,
    expected: 'files: .txt, or .json and .jsonl with objects that have "text"',
    found: name,
    suggestions: ['Save the data set as a JSON file once, and give its path: nothing is downloaded here.'],
  });
}
