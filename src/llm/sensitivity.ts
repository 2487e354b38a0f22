import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { llmResultSchema } from '../config/llm-result.js';
import { UserError } from '../errors.js';

/**
 * Output error of each layer in an earlier run, by name.
 * @throws UserError LLM_SENSITIVITY for what is no result of `dopt llm quantize`
 */
export function sensitivityOf(path: string): Map<string, number> {
  const file = existsSync(path) && statSync(path).isDirectory() ? join(path, 'result.json') : path;
  try {
    const { linears } = llmResultSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
    return new Map(linears.map(({ name, error }) => [name, error]));
  } catch (cause) {
    throw new UserError('LLM_SENSITIVITY', `${file} is no result of dopt llm quantize.`, {
      place: file,
      cause,
      suggestions: [
        'Give the folder of a finished run, or leave --sensitivity out: layers are widened by rule.',
      ],
    });
  }
}
