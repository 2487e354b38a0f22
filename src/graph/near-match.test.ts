import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { editDistance, nearMatches } from './near-match.js';

describe('editDistance', () => {
  it.each([
    ['', 'abc', 3],
    ['kitten', 'sitting', 3],
    ['conv1', 'conv1', 0],
    ['conv1', 'conv2', 1],
  ])('%j to %j is %i', (a, b, distance) => expect(editDistance(a, b)).toBe(distance));

  it('is a metric', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (a, b, c) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
        expect(editDistance(a, c)).toBeLessThanOrEqual(editDistance(a, b) + editDistance(b, c));
      }),
    );
  });
});

describe('nearMatches', () => {
  const names = ['backbone/conv1', 'backbone/conv2', 'head/cls_conv', 'head/reg_conv'];

  it('a slip of the hand finds the name', () =>
    expect(nearMatches('backbone/covn1', names)[0]).toBe('backbone/conv1'));
  it('part of a name finds it', () => expect(nearMatches('cls_conv', names)).toContain('head/cls_conv'));
  it('case does not matter', () => expect(nearMatches('HEAD/REG_CONV', names)[0]).toBe('head/reg_conv'));
  it('something else finds nothing', () => expect(nearMatches('zzzzzz', names)).toEqual([]));
  it('gives no more than asked for', () => expect(nearMatches('backbone/conv', names, 1)).toHaveLength(1));
});
