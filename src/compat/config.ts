import { z } from 'zod';
import { placeText } from '../config/problems.js';
import { readTextFile } from '../config/text-file.js';
import { UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import type { Strategy } from '../quantize/options.js';
import { readPrototxt } from './prototxt/message.js';

/** What fills one input of the model. */
export const preprocessParameterSchema = z.strictObject({
  input_type: z.enum(['IMAGE', 'BINARY']).default('IMAGE'),
  image_format: z.enum(['BGR', 'RGB']).default('BGR'),
  /** A folder of pictures for IMAGE, a 510/610 file for BINARY. */
  input_file_path: z.string().min(1),
  /** On 0..255 values: none (0), one, or one a channel. */
  mean_value: z.array(z.number()).default([]),
  /** None (1), one, or one a channel; see `parseNotrainConfig` for 0. */
  standard_deviation: z.array(z.number().nonnegative()).default([]),
});

/** config.prototxt of the original's quantization without training: message NotrainParameter. */
export const notrainParameterSchema = z.strictObject({
  strategy: z.string().default('Quant_INT8-8'),
  device: z.enum(['USE_CPU', 'USE_GPU']).default('USE_CPU'),
  preprocess_parameter: z.array(preprocessParameterSchema).min(1),
  exclude_op: z.array(z.string()).default([]),
});

/** One preprocess_parameter in our terms, with the places of its settings as `file:line:column`. */
export interface InputBlock {
  kind: 'image' | 'binary';
  color: 'bgr' | 'rgb';
  /** As it stands in the file. */
  path: string;
  mean: number[];
  std: number[];
  places: { block: string; path: string; mean: string; std: string };
}

export interface NotrainConfig {
  file: string;
  strategy: Strategy;
  /** As the file has it, with its place. */
  strategyName: { name: string; place: string };
  device: 'cpu' | 'gpu';
  inputs: InputBlock[];
  exclude: { name: string; place: string }[];
  /** What was read in another way than it is written, one sentence each. */
  warnings: string[];
}

/** Strategies of the original, and who serves those that quantization without training does not. */
const STRATEGIES: Record<string, Strategy> = { 'Quant_INT8-8': 'int8-8', 'Quant_INT16-8': 'int16-8' };
const ELSEWHERE: Record<string, string> = {
  'Quant_INT16-4': 'It is for language models: dopt llm',
  'Quant_INT8-4_ECO': 'It is for language models: dopt llm',
  NASEA: 'It searches network structures: dopt search',
  'Quant_INT8-2': 'Weights of 2 bits ended with the Caffe tools: use "Quant_INT8-8".',
};

/**
 * Reads a config.prototxt.
 * @throws UserError PROTOTXT_INVALID (also for files that cannot be read), COMPAT_STRATEGY
 */
export async function readNotrainConfig(file: string): Promise<NotrainConfig> {
  const text = await readTextFile(file, {
    code: 'PROTOTXT_INVALID',
    never: 'no config.prototxt',
    advice: 'Give the config.prototxt after --cal_conf.',
  });
  return parseNotrainConfig(text, file);
}

/**
 * The text of a config.prototxt in our terms.
 *
 * A standard deviation of exactly 0 is what the original's page calls the default; by its own formula it would divide by
 * 0, so it is read as "not set" (1) and warned about.
 *
 * @throws UserError PROTOTXT_INVALID, COMPAT_STRATEGY
 */
export function parseNotrainConfig(text: string, file: string): NotrainConfig {
  const { value, placeOf } = readPrototxt(text, file, notrainParameterSchema);
  const place = (...path: (string | number)[]): string => placeText(file, placeOf(...path));
  const warnings: string[] = [];
  const inputs = value.preprocess_parameter.map((block, index): InputBlock => {
    const at = (...path: (string | number)[]): string => place('preprocess_parameter', index, ...path);
    if (block.standard_deviation.includes(0)) {
      warnings.push(
        `${at('standard_deviation')}: standard_deviation 0 is read as not set, which is 1: nothing can be divided by 0.`,
      );
    }
    return {
      kind: block.input_type === 'IMAGE' ? 'image' : 'binary',
      color: block.image_format === 'BGR' ? 'bgr' : 'rgb',
      path: block.input_file_path,
      mean: block.mean_value.length > 0 ? block.mean_value : [0],
      std: block.standard_deviation.length > 0 ? block.standard_deviation.map((std) => std || 1) : [1],
      places: {
        block: at(),
        path: at('input_file_path'),
        mean: at('mean_value'),
        std: at('standard_deviation'),
      },
    };
  });
  const exclude = value.exclude_op.flatMap((names, index) =>
    names
      .split(';')
      .map((name) => name.trim())
      .filter((name) => name !== '')
      .map((name) => ({ name, place: place('exclude_op', index) })),
  );
  return {
    file,
    strategy: strategyOf(value.strategy, place('strategy')),
    strategyName: { name: value.strategy, place: place('strategy') },
    device: value.device === 'USE_GPU' ? 'gpu' : 'cpu',
    inputs,
    exclude,
    warnings,
  };
}

function strategyOf(name: string, place: string): Strategy {
  const strategy = Object.hasOwn(STRATEGIES, name) ? STRATEGIES[name] : undefined;
  if (strategy) return strategy;
  const known = Object.keys(STRATEGIES);
  const elsewhere = name.startsWith('Quant_aigc_')
    ? 'It belongs to the plug-in for training projects.'
    : Object.hasOwn(ELSEWHERE, name) && ELSEWHERE[name];
  const message = elsewhere ? 'which is no quantization without training' : 'which is unknown';
  throw new UserError('COMPAT_STRATEGY', `${place} asks for the strategy "${name}", ${message}.`, {
    place,
    expected: known.join(' or '),
    found: name,
    suggestions: [
      ...(elsewhere ? [elsewhere] : nearMatches(name, known, 1).map((near) => `Did you mean "${near}"?`)),
      'Without training: strategy: "Quant_INT8-8"',
    ],
  });
}
