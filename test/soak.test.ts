import { expect, it } from 'vitest';
import { growth, type Held, soak } from './helpers/soak.js';

const held = (more: Partial<Held>): Held => ({
  descriptors: 20,
  children: 0,
  threads: 11,
  files: 0,
  resident: 200,
  heap: 50,
  ...more,
});

it('growth tells a leak from warming up and from noise', () => {
  const series = (change: (run: number) => Partial<Held>): Held[] =>
    Array.from({ length: 40 }, (_, run) => held(change(run)));
  expect(growth(series((run) => ({ descriptors: run < 5 ? 10 : 30, resident: 200 + (run % 3) })))).toEqual(
    [],
  );
  expect(growth(series((run) => ({ descriptors: 20 + run })))).toEqual(['descriptors: 35 to 55']);
  expect(growth(series((run) => ({ resident: 200 + run })))).toHaveLength(1);
});

it('quantizing again and again leaves nothing open, running or lying about', async () => {
  const series = await soak(3);
  // What runs the tests has processes and files of its own.
  const [first, last] = [series[0]!, series.at(-1)!];
  for (const key of ['descriptors', 'children', 'threads', 'files'] as const) {
    expect(last[key], key).toBeLessThanOrEqual(first[key]);
  }
}, 120_000);
