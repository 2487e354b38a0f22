import { expect, it } from 'vitest';
import { fuzz, READERS } from './helpers/fuzz.js';

it.each(Object.keys(READERS))('%s: whole files are read, and damaged ones read or refused', async (name) => {
  const reader = READERS[name]!;
  for (const seed of reader.seeds) await reader.read(seed);
  const { failures } = await fuzz(reader, { seed: 20260101, cases: 40 });
  expect(failures).toEqual([]);
});

it('tells what JavaScript throws, and what takes long, with the seed that makes it again', async () => {
  const read = (bytes: Buffer): void => {
    if (bytes.length % 2 === 0) (undefined as unknown as Buffer).fill(0);
  };
  const { failures, cases } = await fuzz({ seeds: [Buffer.from('abc')], read }, { seed: 1, cases: 200 });
  expect(failures).toHaveLength(10);
  expect(cases).toBeLessThan(200);
  const again = await fuzz({ seeds: [Buffer.from('abc')], read }, { seed: failures[3]!.seed, cases: 1 });
  expect(again.failures[0]).toEqual(failures[3]);
});
