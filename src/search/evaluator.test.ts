import { expect, it } from 'vitest';
import type { Scenario } from '../config/scenario.js';
import { tuneOf } from './evaluator.js';

it.each([
  ['80 batches', { kind: 'supernet' }, 80],
  ['as many as a scenario says', { kind: 'supernet', tune: 0 }, 0],
  ['none where networks are trained alone', { kind: 'standalone' }, 0],
] as const)('goes on from shared weights with %s', (_, evaluator, batches) => {
  expect(tuneOf({ evaluator: { inherit: false, ...evaluator } } as Scenario)).toBe(batches);
});
