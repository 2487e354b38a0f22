import { UserError } from '../errors.js';
import { bytes } from '../report/format.js';
import { solverFor } from './efforts.js';
import type { CalibrationSize } from './estimate.js';
import type { LayerPlan, LlmInspection } from './layer-plan.js';
import type { LlmOptions } from './options.js';

/** Square matrices in double of a layer's inputs that exist at once: sums, factors, and copies while they are made. */
const SQUARES = { plain: 4, cross: 6 };
/** Targets in double that are solved at a time, and their products: TARGET_BYTES of python/dopt/llm/solve.py. */
const TARGET_BYTES = 2 ** 26;
/** Tokens that judge a layer's solutions: HELD_TOKENS of python/dopt/llm/gram.py. */
const HELD_TOKENS = 256;
/** Passes through a block wait for each other when what they hold is not more, or a quarter of what may be used. */
const WAITING_BYTES = 2 ** 31;

/** What of a run decides its memory, beside model and plan. */
export type MemoryOptions = Pick<LlmOptions, 'effort' | 'rotate' | 'batch' | 'threads' | 'memory'>;

/** Where the bytes go at the moment that needs most of them. */
export interface MemoryPromise {
  /** Interpreter and frameworks. */
  base: number;
  /** What lies outside of the blocks in float32, and a block: as it is kept, its integers, copies of its largest layer. */
  weights: number;
  /** Sums over the inputs of the widest layer, and factors. */
  gram: number;
  /** Hidden states of both models, and what passes through a block hold. */
  states: number;
  total: number;
  /** Whether each pass through a block runs once and waits for its layers, instead of running again for each of them. */
  lockstep: boolean;
}

/** What is known of the model, as far as memory is concerned. */
type Sizes = Pick<
  LlmInspection,
  | 'whole'
  | 'bytes'
  | 'blockBytes'
  | 'storedBlockBytes'
  | 'outsideBytes'
  | 'baseBytes'
  | 'hidden'
  | 'heads'
  | 'linears'
  | 'rotation'
>;

/**
 * The memory that quantization needs: the plan shows it, `--memory` is held against it, and results print it beside the peak
 * of the process. Pure.
 */
export function promiseMemory(
  model: Sizes,
  plan: Pick<LayerPlan, 'linears'>,
  { samples, length }: CalibrationSize,
  { effort, rotate, batch, threads, memory }: MemoryOptions,
): MemoryPromise {
  const solver = solverFor(effort, rotate);
  const cross = solver.ridges.length > 0 && solver.rounding === 'gptq';
  const inside = model.linears.filter(({ block }) => block !== null);
  const most = (of: (linear: (typeof inside)[number]) => number): number => Math.max(0, ...inside.map(of));
  const widest = most(({ shape }) => shape[0]!);
  const inputs = most(({ shape }) => shape[1]!);
  const tokens = samples * length;

  const held = HELD_TOKENS * 4;
  const waiting = 4 * 2 * tokens * (2 * model.heads * length + 6 * model.hidden + 2 * widest);
  const lockstep = waiting <= (memory === null ? WAITING_BYTES : memory / 4);
  const together = Math.min(batch, samples) * length * Math.min(threads, Math.ceil(samples / batch));
  const running = 4 * together * (3 * model.heads * length + 6 * model.hidden + 4 * widest);
  const streams = 4 * 3 * tokens * model.hidden; // of one model twice, while it moves on
  const passing = lockstep ? Math.max(running, waiting) : running;

  const rotated = solver.rotate !== 'never' && model.rotation.possible;
  const kept = model.whole !== null ? 0 : rotated ? model.blockBytes : model.storedBlockBytes;
  const integers = Math.max(0, ...[...weightsByBlock(inside).values()]);
  const solving = 4 * 3 * most(({ shape }) => shape[0]! * shape[1]!) + 2 * TARGET_BYTES;
  const gram = 8 * inputs ** 2 * (cross ? SQUARES.cross : SQUARES.plain);
  const block = { weights: kept + integers + solving, gram, states: passing };

  // The head's weights as read, rounded and judged, and its outputs for the tokens that judge.
  const quantized = new Set(plan.linears.map(({ name }) => name));
  const outputs = model.linears.find(({ head, name }) => head && quantized.has(name))?.shape[0] ?? 0;
  const head = {
    weights: outputs * (4 * 4 * model.hidden + 2 * held),
    gram: 8 * SQUARES.plain * model.hidden ** 2,
    states: 0,
  };

  const sum = (one: typeof block): number => one.weights + one.gram + one.states;
  const worst = outputs > 0 && sum(head) > sum(block) ? head : block;
  const outside = model.whole === null ? model.outsideBytes : model.bytes;
  const base = model.baseBytes;
  return {
    base,
    weights: outside + worst.weights,
    gram: worst.gram,
    states: streams + worst.states,
    total: base + outside + streams + sum(worst),
    lockstep,
  };
}

function weightsByBlock(linears: LlmInspection['linears']): Map<number | null, number> {
  const found = new Map<number | null, number>();
  for (const { block, shape } of linears) found.set(block, (found.get(block) ?? 0) + shape[0]! * shape[1]!);
  return found;
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

/** Why a run would be refused; null where it would not. */
export const refusalOf = ({ total }: MemoryPromise, limit: number | null): string | null =>
  limit === null || total <= limit
    ? null
    : `${bytes(total)} of memory are needed, and ${bytes(limit)} may be used.`;

/** @throws UserError LLM_MEMORY when more is needed than may be used, with what would bring it down */
export function requireMemory(
  promise: MemoryPromise,
  limit: number | null,
  { samples, length }: CalibrationSize,
): void {
  const refusal = refusalOf(promise, limit);
  if (refusal === null) return;
  const without = promise.total - promise.states;
  const fitting = Math.floor(((limit! - without) / promise.states) * samples);
  throw new UserError('LLM_MEMORY', refusal, {
    expected: `${bytes(limit!)} or less`,
    found: `${bytes(promise.weights)} weights, ${bytes(promise.gram)} Gram matrices, ${bytes(promise.states)} states of ${samples} samples of ${length} tokens, ${bytes(promise.base)} the program`,
    suggestions: [
      ...(fitting > 0 ? [`Calibrate with ${fitting} samples: --samples ${fitting}`] : []),
      'Allow more: --memory',
    ],
  });
}
