import { describe, expect, it } from 'vitest';
import { type DataPart, preprocessSchema } from '../config/data.js';
import { matchParts } from './data.js';

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
