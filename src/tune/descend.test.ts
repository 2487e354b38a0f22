import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Change, descend } from './descend.js';

/** Settings are a set of switches; each brings its own worth. */
const toggles = (count: number): Change<boolean[]>[] =>
  Array.from(
    { length: count },
    (_, at) => (on: boolean[]) => on.map((value, i) => (i === at ? !value : value)),
  );
const worth = (values: readonly number[], on: readonly boolean[]): number =>
  values.reduce((sum, value, i) => sum + (on[i] ? value : 0), 0);
const more = (a: number, b: number): boolean => a > b;

describe('descend', () => {
  it('finds the best where changes add up, and evaluates nothing twice', async () => {
    const lists = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(lists, async (values) => {
        const asked: string[] = [];
        const start = values.map(() => false);
        const found = await descend(
          start,
          toggles(values.length),
          async (on) => {
            asked.push(JSON.stringify(on));
            return worth(values, on);
          },
          more,
        );
        expect(worth(values, found)).toBe(values.filter((v) => v > 0).reduce((a, b) => a + b, 0));
        expect(new Set(asked).size).toBe(asked.length);
      }),
    );
  });

  it('tries a change again on settings that came later', async () => {
    // The first switch helps only with the second one on.
    const value = ([a, b]: boolean[]): number => (b ? (a ? 3 : 1) : a ? -1 : 0);
    const found = await descend([false, false], toggles(2), async (on) => value(on), more);
    expect(found).toEqual([true, true]);
    expect(await descend([false, false], toggles(2), async (on) => value(on), more, 1)).toEqual([
      false,
      true,
    ]);
  });

  it('ends with the best so far when the time is over', async () => {
    let left = 3;
    const found = await descend(
      [false, false, false],
      toggles(3),
      async (on) => (left-- > 0 ? worth([1, 1, 1], on) : null),
      more,
    );
    expect(found).toEqual([true, true, false]);
  });

  it('leaves changes out that change nothing', async () => {
    let asked = 0;
    const same: Change<number> = () => null;
    expect(await descend(1, [same, (n) => n], async () => ++asked, more)).toBe(1);
    expect(asked).toBe(1);
  });
});
