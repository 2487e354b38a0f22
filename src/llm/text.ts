import { statSync } from 'node:fs';
import { extname } from 'node:path';
import type { Params } from '../bridge/protocol.js';
import { UserError } from '../errors.js';
import type { CalibrationSize } from './estimate.js';
import type { LlmInspection } from './layer-plan.js';
import type { LlmText } from './options.js';

const ENDINGS = ['.txt', '.json', '.jsonl', '.npy'];

/**
 * Looks at files of text before anything else is done.
 * @throws UserError LLM_TEXT_NOT_FOUND, LLM_TEXT_KIND, LLM_TEXT_EMPTY
 */
export function checkTextFiles(flag: string, files: readonly string[]): void {
  for (const file of files) {
    const found = statSync(file, { throwIfNoEntry: false });
    if (!found?.isFile()) {
      throw new UserError(
        'LLM_TEXT_NOT_FOUND',
        `${flag} ${file} ${found ? 'is no file' : 'does not exist'}.`,
        {
          place: file,
          suggestions: ['Give a file of text: .txt, or .json and .jsonl of objects with "text".'],
        },
      );
    }
    if (!ENDINGS.includes(extname(file).toLowerCase())) {
      throw new UserError('LLM_TEXT_KIND', `${flag} ${file} is of no kind that text is read from.`, {
        place: file,
        expected: '.txt; .json or .jsonl of objects with "text"; .npy of token numbers',
        found: extname(file) || 'no ending',
      });
    }
    if (found.size === 0) {
      throw new UserError('LLM_TEXT_EMPTY', `${flag} ${file} is empty.`, {
        place: file,
        suggestions: ['Give text of the kind that the model will see: some ten thousand words.'],
      });
    }
  }
}

/** Whether a tokenizer is not needed: token numbers are given. */
export const isTokens = (files: readonly string[]): boolean =>
  files.length > 0 && files.every((file) => extname(file).toLowerCase() === '.npy');

/** Whose tokens `llmInspect` counts. */
export const countedText = ({ files, chat }: LlmText): Params<'llmInspect'>['text'] =>
  files.length > 0 ? { files, chat } : null;

/** What calibrates: as much as was asked for or is usual, and no more samples than the text has. */
export function calibrationSize(
  { samples, length, bos }: Pick<LlmText, 'samples' | 'length' | 'bos'>,
  usual: CalibrationSize,
  { textTokens, tokenizer }: Pick<LlmInspection, 'textTokens' | 'tokenizer'>,
): CalibrationSize {
  const size = { samples: samples ?? usual.samples, length: length ?? usual.length };
  if (textTokens === null) return size;
  const own = size.length - (bos && tokenizer !== null && tokenizer.bos !== null ? 1 : 0);
  return { ...size, samples: Math.max(1, Math.min(size.samples, Math.floor(textTokens / own))) };
}

/** A text as Python takes it; what is not said is as `usual` says. */
export const textParams = (text: LlmText, usual: CalibrationSize): Params<'llmEvaluate'>['text'] => ({
  files: text.files,
  samples: text.samples ?? usual.samples,
  length: text.length ?? usual.length,
  chat: text.chat,
  bos: text.bos,
});
