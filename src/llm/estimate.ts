import { UserError } from '../errors.js';
import { bytes } from '../report/format.js';
import type { LlmInspection } from './layer-plan.js';
import type { LlmEffort } from './options.js';

/** Interpreter, framework and their buffers. */
const BASE_BYTES = 550e6;
/** What solving takes beside the sums, whatever the layer. */
const SOLVER_BYTES = 134e6;
/** Square matrices in double of a layer's inputs at once: sums, factors, copies. */
const SQUARES = 7;
/** Most that passes through a block hold while they wait for each other. */
const WAITING_BYTES = 2 ** 31;
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

/** Where the bytes go at the moment that needs most of them. */
export interface MemoryEstimate {
  base: number;
  weights: number;
  gram: number;
  states: number;
  total: number;
}

/**
 * Memory at the worst moment, about; python/dopt/llm/memory.py promises it exactly when the shapes of all tensors are known,
 * and refuses by that. Weights: what lies outside of the blocks in float32, and one and a half blocks (all of the model where
 * it cannot be read block by block). States: hidden states while they move on, and what waits inside of a block.
 */
export function estimateMemory(
  model: Pick<
    LlmInspection,
    'whole' | 'bytes' | 'blockBytes' | 'outsideBytes' | 'inputsMost' | 'hidden' | 'linears'
  >,
  { samples, length }: CalibrationSize,
): MemoryEstimate {
  const tokens = samples * length;
  const widest = Math.max(
    0,
    ...model.linears.filter(({ block }) => block !== null).map(({ shape }) => shape[0]!),
  );
  const weights =
    model.whole === null ? model.outsideBytes + 1.5 * model.blockBytes : model.bytes + 1.5 * model.blockBytes;
  const gram = SQUARES * 8 * model.inputsMost ** 2 + SOLVER_BYTES;
  const waiting = Math.min(8 * tokens * (6 * model.hidden + 2 * widest), WAITING_BYTES);
  const states = 12 * tokens * model.hidden + waiting;
  return { base: BASE_BYTES, weights, gram, states, total: BASE_BYTES + weights + gram + states };
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

/** `8G`, `500M`, `12GiB`; bytes. @throws UserError USAGE */
export function parseMemory(text: string): number {
  const found = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?$/i.exec(text.trim());
  const power = found ? ['', 'k', 'm', 'g', 't'].indexOf(found[2]!.toLowerCase()) : 0;
  const value = found ? Number(found[1]) * (found[3] ? 1024 : 1000) ** power : 0;
  if (value > 0) return value;
  throw new UserError('USAGE', '--memory cannot be read.', {
    exitCode: 2,
    expected: 'a size like 8G, 500M or 12GiB',
    found: text,
  });
}

/** @throws UserError LLM_MEMORY when the estimate is above what may be used, with what would bring it down */
export function requireMemory(
  estimate: MemoryEstimate,
  limit: number | null,
  { samples, length }: CalibrationSize,
): void {
  if (limit === null || estimate.total <= limit) return;
  const without = estimate.total - estimate.states;
  const fitting = Math.floor(((limit - without) / estimate.states) * samples);
  throw new UserError(
    'LLM_MEMORY',
    `About ${bytes(estimate.total)} of memory are needed, and ${bytes(limit)} may be used.`,
    {
      expected: `${bytes(limit)} or less`,
      found: `${bytes(estimate.weights)} weights, ${bytes(estimate.gram)} Gram matrices, ${bytes(estimate.states)} states of ${samples} samples of ${length} tokens, ${bytes(estimate.base)} the program`,
      suggestions: [
        ...(fitting > 0 ? [`Calibrate with ${fitting} samples: --samples ${fitting}`] : []),
        'Allow more: --memory',
      ],
    },
  );
}
