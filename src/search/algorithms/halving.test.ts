import { expect, it } from 'vitest';
import { gains, halvingOf, type Placed, promotions } from './halving.js';

const placed = (scores: Record<string, number>, violation = 0): Placed[] =>
  Object.entries(scores).map(([key, score]) => ({ key, objectives: [-score], violation }));
const none = (): boolean => false;

it.each([
  [{ first: 1, factor: 3, most: 9 }, [1, 3, 9]],
  [{ first: 1, factor: 3, most: 10 }, [1, 3, 9, 10]],
  [{ first: 2, factor: 4, most: 20 }, [2, 8, 20]],
])('rungs of %o', (settings, rungs) => {
  expect(halvingOf(settings).rungs).toEqual(rungs);
});

it('the best third goes on, each once, those of higher rungs first', () => {
  const halving = halvingOf({ first: 1, factor: 3, most: 9 });
  const first = placed({ a: 1, b: 5, c: 3, d: 4, e: 2, f: 0, g: 0 });
  expect(promotions(halving, [first], none)).toEqual([
    { key: 'b', epochs: 3 },
    { key: 'd', epochs: 3 },
  ]);
  const gone = (key: string, epochs: number): boolean => epochs === 3 && 'bdc'.includes(key);
  expect(promotions(halving, [first, placed({ b: 6, d: 7, c: 5 })], gone)).toEqual([{ key: 'd', epochs: 9 }]);
  expect(promotions(halving, [first.slice(0, 2)], none)).toEqual([]);
});

it('one that better ones have come behind may go on later, one without a score never', () => {
  const halving = halvingOf({ first: 1, factor: 2, most: 2 });
  const gone = (key: string): boolean => key === 'a';
  expect(promotions(halving, [placed({ a: 5, b: 4, c: 3 })], gone)).toEqual([]);
  expect(promotions(halving, [placed({ a: 5, b: 4, c: 3, d: 2 })], gone)).toEqual([{ key: 'b', epochs: 2 }]);
  expect(promotions(halving, [placed({ a: 0, b: 0 }, 1)], none)).toEqual([]);
});

it('under several objectives cheap networks go on too', () => {
  const halving = halvingOf({ first: 1, factor: 2, most: 2 });
  const all = [
    ['dear', -5, 9],
    ['worse', -4, 9],
    ['cheap', -1, 1],
    ['worst', -0.5, 8],
  ] as const;
  const rung = all.map(([key, ...objectives]) => ({ key, objectives, violation: 0 }));
  expect(promotions(halving, [rung], none).map(({ key }) => key)).toEqual(['dear', 'cheap']);
});

it('gains are means over those that stand on both rungs', () => {
  expect(gains(3, [[1], [2, 4], [3, 7, 8]])).toEqual([0, 3, 4]);
  expect(gains(2, [])).toEqual([0, 0]);
});
