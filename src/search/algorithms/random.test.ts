import { describe, expect, it } from 'vitest';
import { Draws, philox } from './random.js';

describe('philox', () => {
  // The known answers that come with Random123.
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [-1, -1, -1, -1],
      [-1, -1],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])('turns %j under key %j into %j', (counter, [key0, key1], expected) => {
    const words = Uint32Array.from(counter);
    philox(words, key0! >>> 0, key1! >>> 0);
    expect([...words]).toEqual(expected);
  });
});

describe('Draws', () => {
  const some = (draws: Draws, count = 8): number[] => Array.from({ length: count }, () => draws.next());

  it('are the same for the same place, whatever was drawn elsewhere', () => {
    const first = some(new Draws(7, 2, 3));
    some(new Draws(7, 2, 4), 5);
    expect(some(new Draws(7, 2, 3))).toEqual(first);
  });

  it('differ by seed, generation, index and stream', () => {
    const all = [
      ...[new Draws(7, 2, 3), new Draws(8, 2, 3), new Draws(7 + 2 ** 32, 2, 3)],
      ...[new Draws(7, 3, 2), new Draws(7, 2, 4), new Draws(7, 2, 3, 1)],
    ].map((draws) => some(draws, 4).join());
    expect(new Set(all).size).toBe(all.length);
  });

  it('fill the range evenly', () => {
    const draws = new Draws(1, 0, 0);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) counts[draws.below(10)]!++;
    // Five standard deviations of a count.
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
