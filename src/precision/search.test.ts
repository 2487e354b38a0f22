import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { greedyOrder, type Step, searchWidths, type Widths } from './search.js';

/** A model whose noise is what its narrow tensors bring, and a goal for it; counts how often it is asked. */
function model(noise: Record<string, number>, goal: number) {
  const asked: string[] = [];
  const evaluate = async (widths: Widths) => {
    asked.push([...widths.keys()].sort().join());
    const left = Object.entries(noise).reduce(
      (sum, [tensor, own]) => sum + (widths.has(tensor) ? 0 : own),
      0,
    );
    return { missed: left - goal, cost: widths.size };
  };
  return { asked, evaluate };
}

const steps = (noise: Record<string, number>, cost = 1): Step[] =>
  Object.entries(noise).map(([tensor, relief]) => ({ tensor, to: 'int16', relief, cost }));

describe('searchWidths', () => {
  it('widens nothing where nothing is wanting', async () => {
    const { asked, evaluate } = model({ a: 1 }, 2);
    expect(await searchWidths(steps({ a: 1 }), evaluate)).toEqual({ widths: new Map(), reached: true });
    expect(asked).toEqual(['']);
  });

  it('finds the fewest tensors where errors add up', async () => {
    const amounts = fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(amounts, fc.integer({ min: 0, max: 3000 }), async (list, goal) => {
        const noise = Object.fromEntries(list.map((own, i) => [`t${i}`, own]));
        const { evaluate } = model(noise, goal);
        const { widths, reached } = await searchWidths(steps(noise), evaluate);
        expect(reached).toBe(true);
        let left = list.reduce((a, b) => a + b, 0);
        let fewest = 0;
        for (const own of [...list].sort((a, b) => b - a)) {
          if (left <= goal) break;
          left -= own;
          fewest++;
        }
        expect(widths.size).toBe(fewest);
      }),
    );
  });

  it('takes back what sensitivities alone had overrated', async () => {
    const { evaluate } = model({ a: 0.1, b: 10, c: 10, d: 10 }, 1);
    const wrong = steps({ a: 40, b: 30, c: 20, d: 10 });
    const { widths } = await searchWidths(wrong, evaluate);
    expect([...widths.keys()].sort()).toEqual(['b', 'c', 'd']);
  });

  it('comes as near as it can where the goal is out of reach', async () => {
    const { evaluate } = model({ a: 1, b: 2, rest: 5 }, 1);
    const { widths, reached } = await searchWidths(steps({ a: 1, b: 2 }), evaluate);
    expect(reached).toBe(false);
    expect([...widths.keys()].sort()).toEqual(['a', 'b']);
    expect(await searchWidths([], evaluate)).toEqual({ widths: new Map(), reached: false });
  });

  it('takes a few tries only', async () => {
    const noise = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`t${i}`, 1000 / (i + 1) ** 2]));
    const { asked, evaluate } = model(noise, 20);
    await searchWidths(steps(noise), evaluate);
    expect(asked.length).toBeLessThan(45);
  });
});

describe('the order of steps', () => {
  const step = (tensor: string, to: Step['to'], relief: number, cost: number): Step => ({
    tensor,
    to,
    relief,
    cost,
  });

  it('is by relief for the cost, and a tensor goes to 16 bits before it goes to float', () => {
    const order = greedyOrder([
      step('a', 'float', 100, 2),
      step('a', 'int16', 4, 1),
      step('b', 'int16', 10, 1),
      step('c', 'int16', 20, 10),
    ]);
    expect(order.map(({ tensor, to }) => `${tensor} ${to}`)).toEqual([
      'b int16',
      'a int16',
      'a float',
      'c int16',
    ]);
  });

  it('tells apart by what it brings what costs nothing', () => {
    const free = [step('a', 'int16', 1e-9, 0), step('b', 'int16', 10, 0), step('c', 'int16', 1, 0)];
    const names = (steps: Step[]): string =>
      greedyOrder(steps)
        .map(({ tensor }) => tensor)
        .join('');
    expect(names(free)).toBe('bca');
    expect(names([...free, step('d', 'float', 20, 1)])).toBe('bcda');
  });

  it('puts first what costs nothing', () => {
    expect(greedyOrder([step('a', 'int16', 10, 1), step('b', 'int16', 1, 0)])[0]!.tensor).toBe('b');
  });
});
