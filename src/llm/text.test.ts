import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { UserError } from '../errors.js';
import { subjectOf } from './evaluate.js';
import { checkModelFolder } from './open.js';
import { sensitivityOf } from './sensitivity.js';
import { calibrationSize, checkTextFiles } from './text.js';

const folder = mkdtempSync(join(tmpdir(), 'dopt-llm-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const code = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as UserError).code;
  }
  return 'none';
};

describe('refused before anything is started', () => {
  it.each<[string, () => unknown, string]>([
    ['text that is not there', () => checkTextFiles('--data', [join(folder, 'a.txt')]), 'LLM_TEXT_NOT_FOUND'],
    ['empty text', () => checkTextFiles('--data', [file('empty.txt', '')]), 'LLM_TEXT_EMPTY'],
    ['a table', () => checkTextFiles('--data', [file('a.csv', 'a,b')]), 'LLM_TEXT_KIND'],
    ['no model folder', () => checkModelFolder(join(folder, 'none')), 'LLM_MODEL_NOT_FOUND'],
    ['a folder that is none of transformers', () => subjectOf(folder, null), 'LLM_MODEL_NOT_FOUND'],
    ['a run that has no quantized model', () => subjectOf(folder, folder), 'LLM_NOT_QUANTIZED'],
    ['errors of another kind of run', () => sensitivityOf(file('result.json', '{}')), 'LLM_SENSITIVITY'],
  ])('%s', (_, work, expected) => {
    expect(code(work)).toBe(expected);
  });

  it('nothing for text', () => {
    expect(code(() => checkTextFiles('--data', [file('b.jsonl', '{"text": "a"}')]))).toBe('none');
  });
});

describe('how much calibrates', () => {
  const usual = { samples: 128, length: 512 };
  const none = { samples: null, length: null, bos: true };
  const tokenizer = { vocabulary: 100, bos: 1, eos: 2, chatTemplate: false };

  it.each([
    ['what is usual, where the tokens were not counted', none, { textTokens: null, tokenizer }, usual],
    ['what is usual of a text that has more', none, { textTokens: 128 * 511, tokenizer }, usual],
    [
      'what the text has, BOS aside',
      none,
      { textTokens: 128 * 511 - 1, tokenizer },
      { samples: 127, length: 512 },
    ],
    [
      'all tokens where there is no BOS',
      none,
      { textTokens: 5120, tokenizer: null },
      { samples: 10, length: 512 },
    ],
    [
      'no more than the text has, whatever was asked for',
      { samples: 64, length: 100, bos: false },
      { textTokens: 1000, tokenizer },
      { samples: 10, length: 100 },
    ],
    [
      'one sample at least, which fails where it is read',
      none,
      { textTokens: 3, tokenizer },
      { samples: 1, length: 512 },
    ],
  ])('%s', (_, asked, model, expected) => {
    expect(calibrationSize(asked, usual, model)).toEqual(expected);
  });
});
