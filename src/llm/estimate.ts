import type { LlmInspection } from './layer-plan.js';
import type { LlmEffort } from './options.js';

/** Multiplications and additions a second that a thread of a desktop processor does in large products. */
const THREAD_RATE = 12e9;
/** Of weights in seconds: loading, rounding, packing, writing. */
const WEIGHT_RATE = 25e6;

/** Samples and tokens that calibrate. */
export interface CalibrationSize {
  samples: number;
  length: number;
}

/**
 * As many tokens as a processor takes within minutes: small models see more of them. A GPU takes 128 x 2048, which flags can
 * ask for.
 */
export function usualCalibration(model: Pick<LlmInspection, 'parameters' | 'context'>): CalibrationSize {
  const samples = model.parameters < 60e6 ? 128 : model.parameters < 1e9 ? 64 : 32;
  return { samples, length: Math.min(512, model.context ?? 512) };
}

/** Seconds for a layer, and for all of a model; orders of magnitude, told before the work begins. */
export function estimateSeconds(
  shape: readonly number[],
  tokens: number,
  effort: LlmEffort,
  threads: number,
): number {
  const [outputs, inputs] = shape as [number, number];
  const passes = 2 * 2 * outputs * inputs * tokens;
  const gram = effort === 'preview' ? 0 : 2 * inputs * inputs * tokens;
  const crossed = effort === 'balanced' || effort === 'best' ? 2 : 1;
  const solve = effort === 'preview' ? 0 : crossed * (outputs * inputs * inputs + inputs ** 3 / 3);
  return (passes + crossed * gram + solve) / (THREAD_RATE * threads) + (outputs * inputs) / WEIGHT_RATE;
}
