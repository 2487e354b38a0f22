import { expect, it } from 'vitest';
import type { Scenario } from '../config/scenario.js';
import { tuneOf } from './evaluator.js';

it.each([
  ['80 batches, twice', { kind: 'supernet' }, { batches: 80, seeds: 2 }],
  ['as many as a scenario says', { kind: 'supernet', tune: 40, seeds: 3 }, { batches: 40, seeds: 3 }],
  ['none, once, where that is asked for', { kind: 'supernet', tune: 0 }, { batches: 0, seeds: 1 }],
  ['none where networks are trained alone', { kind: 'standalone' }, { batches: 0, seeds: 1 }],
] as const)('goes on from shared weights with %s', (_, evaluator, tune) => {
  expect(tuneOf({ evaluator: { inherit: false, ...evaluator } } as Scenario)).toEqual(tune);
});
