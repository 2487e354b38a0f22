import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { UserError } from '../errors.js';
import { subjectOf } from './evaluate.js';
import { checkModelFolder } from './open.js';
import { sensitivityOf } from './sensitivity.js';
import { checkTextFiles } from './text.js';

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
