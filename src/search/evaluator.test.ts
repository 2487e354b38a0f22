import { expect, it } from 'vitest';
import type { Scenario } from '../config/scenario.js';
import { trainingPlaces, tuneOf } from './evaluator.js';

it.each([
  ['160 batches, four times', { kind: 'supernet' }, { batches: 160, seeds: 4, loss: 'validation' }],
  [
    'as many as a scenario says',
    { kind: 'supernet', tune: 40, seeds: 3 },
    { batches: 40, seeds: 3, loss: 'validation' },
  ],
  ['none, once, where that is asked for', { kind: 'supernet', tune: 0 }, { batches: 0, seeds: 1 }],
  ['none where networks are trained alone', { kind: 'standalone' }, { batches: 0, seeds: 1 }],
] as const)('goes on from shared weights with %s', (_, evaluator, tune) => {
  expect(tuneOf({ evaluator: { inherit: false, ...evaluator } } as Scenario)).toEqual(tune);
});

it.each([
  ['all GPUs of a scenario', '0,2', 0, false, [0, 2]],
  ['a GPU that is named twice, once', '1,1', 1, false, [1]],
  ['the one that Ray shows a worker of a cluster', '0,2', 0, true, [0]],
  ['the processor', undefined, null, false, [null]],
] as const)('trains shared weights on %s', (_, gpu_id, gpu, away, places) => {
  expect(trainingPlaces({ resource: { gpu_id } }, gpu, away)).toEqual(places);
});
