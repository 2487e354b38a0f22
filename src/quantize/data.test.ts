import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DataPart, preprocessSchema } from '../config/data.js';
import { areTwoFiles, matchParts } from './data.js';

const part = (input: string): DataPart => ({ input, path: '/x', preprocess: preprocessSchema.parse({}) });
const input = (name: string) => ({ name, dtype: 'float32' as const, shape: null });
const names = (parts: string[], inputs: string[]): string[] =>
  matchParts(parts.map(part), inputs.map(input)).map((found) => found.input);

describe('matchParts', () => {
  it('takes equal names first, then those that differ by :0', () => {
    expect(names(['a', 'b:0'], ['a:0', 'b'])).toEqual(['a:0', 'b']);
    expect(names(['a', 'a:0'], ['a:0', 'a'])).toEqual(['a', 'a:0']);
  });

  it('leaves names that the graph does not have, for the error about them', () => {
    expect(names(['c'], ['a'])).toEqual(['c']);
  });
});

describe('areTwoFiles', () => {
  it('tells files of one name apart by their bytes, and nothing else', () => {
    const folder = mkdtempSync(join(tmpdir(), 'dopt-data-'));
    const write = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const first = write('a', 'one');
    expect(
      [write('b', 'one'), write('c', 'two'), write('d', 'longer')].map((path) => areTwoFiles(first, path)),
    ).toEqual([false, true, true]);
    mkdirSync(join(folder, 'e'));
    expect(areTwoFiles(first, join(folder, 'e'))).toBe(false);
    expect(areTwoFiles(join(folder, 'data.npy', '3'), first)).toBe(false);
    rmSync(folder, { recursive: true });
  });
});
