import type { Score, TaskResult } from '../config/verification.js';
import { bootstrapInterval } from './bootstrap.js';
import type { Values } from './tensors.js';

/** Gathers what a task metric needs from each sample, and scores both models at the end. */
export interface TaskScorer {
  /** @param sample index of the sample, 0, 1, 2, … in order */
  add(sample: number, float: Values, quantized: Values): void;
  result(): TaskResult;
}

/** A figure of one model in percent, when sample i counts `counts[i]` times. */
export type Figure = (counts: Uint16Array) => number;

/** One figure of both models with the interval of its difference; `float` is null where it is the reference itself. */
export function score(name: string, samples: number, float: Figure | null, quantized: Figure): Score {
  const once = new Uint16Array(samples).fill(1);
  return {
    name,
    float: float ? float(once) : null,
    quantized: quantized(once),
    interval: float && bootstrapInterval(samples, (counts) => quantized(counts) - float(counts)),
  };
}
