import { describe, expect, it } from 'vitest';
import type { UserError } from '../errors.js';
import { type OriginalFlags, originalOptions } from './llm.js';

const none: OriginalFlags = {
  stage: 'stage1',
  blockSize: null,
  groupSize: null,
  weightBits: null,
  activationBits: null,
};
const code = (flags: Partial<OriginalFlags>): string => {
  try {
    originalOptions({ ...none, ...flags });
  } catch (error) {
    return (error as UserError).code;
  }
  return 'none';
};

describe("the original's flags", () => {
  it('have its defaults', () => {
    expect(originalOptions(none)).toEqual({
      stage: 'stage1',
      widths: { bits: 4, 'group-size': undefined, 'activation-bits': '16' },
    });
  });

  it('take a size under its older name, and a scale a row', () => {
    expect(originalOptions({ ...none, groupSize: 64 }).widths['group-size']).toBe('64');
    expect(originalOptions({ ...none, blockSize: 64, groupSize: 64 }).widths['group-size']).toBe('64');
    expect(originalOptions({ ...none, blockSize: -1 }).widths['group-size']).toBe('channel');
  });

  it.each<[string, Partial<OriginalFlags>, string]>([
    ['a stage that is none', { stage: 'stage4' }, 'USAGE'],
    ['two sizes', { blockSize: 64, groupSize: 128 }, 'USAGE'],
    ['a size that no device knows', { blockSize: 48 }, 'USAGE'],
    ['a size beside 8 bits, which it ignored', { weightBits: 8, blockSize: 128 }, 'LLM_GROUP_OF_8_BITS'],
  ])('refuse %s', (_, flags, expected) => {
    expect(code(flags)).toBe(expected);
  });
});
