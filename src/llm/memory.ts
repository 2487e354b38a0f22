import { UserError } from '../errors.js';
import { bytes } from '../report/format.js';
import { type Solver, solverFor } from './efforts.js';
import type { CalibrationSize } from './estimate.js';
import type { LayerPlan, LlmInspection } from './layer-plan.js';
import type { LlmOptions } from './options.js';

/**
 * What libraries keep while they multiply, small tensors, and freed memory that stays: more of it where the sums of no layer
 * are large (LARGE_BYTES of python/dopt/llm/memory.py).
 */
const PROGRAM_BYTES = { large: 175e6, small: 220e6 };
const LARGE_BYTES = 24 * 2 ** 20;
/** What is left in pieces by solving a block as it is and rotated: python/dopt/llm/trial.py. */
const TRIAL_BYTES = 250e6;
/** Rows in double that are solved at a time: target_bytes of python/dopt/llm/rows.py; they, what they are made of and come to. */
const TARGET_BYTES = 3 * 12 * 2 ** 20;
/** Tokens that judge a layer's solutions: HELD_TOKENS of python/dopt/llm/gram.py. */
const HELD_TOKENS = 256;
/** Sums of experts that are gathered at once: SUM_BYTES of python/dopt/llm/block.py. */
const SUM_BYTES = 2 ** 30;
/** Passes through a block wait for each other when what they hold is not more, or a quarter of what may be used. */
const WAITING_BYTES = 2 ** 31;
/** Batches that errors before a layer are learned from, at least, and weights of a model from which on all are: python/dopt/llm/block.py. */
const LEAST_CROSSING = 4;
const LARGE = 60e6;

/** Tokens that attend to each other where attention tells what errors cost, LENGTH of python/dopt/llm/fisher.py, and the copies of its weights. */
const PIECE = 256;
const TOLD = 12;

/** What of a run decides its memory, beside model and plan. */
export type MemoryOptions = Pick<LlmOptions, 'effort' | 'rotate' | 'batch' | 'threads' | 'memory'>;

/** Where the bytes go at the moment that needs most of them. */
export interface MemoryPromise {
  /** Interpreter and frameworks. */
  base: number;
  /** What lies outside of the blocks in float32, a block (as it is kept, its integers, parts of a layer), and what libraries keep. */
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
  | 'tied'
  | 'heads'
  | 'linears'
  | 'rotation'
  | 'parameters'
>;

type Linear = Sizes['linears'][number];

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
  const inside = model.linears.filter(({ block }) => block !== null);
  const tokens = samples * length;
  const wide = Math.max(0, ...inside.map(({ shape }) => shape[0]!));
  const deep = Math.max(0, ...inside.map(({ shape }) => shape[1]!));
  const batches = Math.ceil(samples / batch);
  const solver = crossing(solverFor(effort, rotate), batches, model.parameters);
  const both = 1 + floatShare(solver, batches); // how often hidden states exist
  const together = Math.min(batch, samples) * length * Math.min(threads, batches);

  /** What a token holds in a pass that waits: in attention, and behind it, before a layer of so many inputs. */
  const attending = model.heads * length + 5 * model.hidden;
  const holding = (inputs: number): number => 2 * model.hidden + inputs;
  const lasting = Math.max(attending, holding(deep));
  const lockstep = 4 * both * tokens * lasting <= (memory === null ? WAITING_BYTES : memory / 4);
  const waiting = (floats: number): number => (lockstep ? 4 * both * tokens * floats : 0);

  const rotated = solver.rotate !== 'never' && model.rotation.possible;
  const kept = model.whole !== null ? 0 : rotated ? model.blockBytes : model.storedBlockBytes;
  const integers = Math.max(0, ...weightsByBlock(inside).values());
  const streams = 4 * both * tokens * model.hidden;
  const headLinear = model.linears.find(({ head }) => head);
  // A head that is the embedding, too, is read anew when its turn comes, or has been turned from the beginning.
  const second = model.tied && headLinear ? 4 * headLinear.shape[0]! * model.hidden : 0;
  const outside = (model.whole === null ? model.outsideBytes : model.bytes) + (rotated ? second : 0);
  const moment = (weights: number, gram: number, states: number) => ({ weights, gram, states });

  // A layer is solved while passes wait behind the layers before it, whose float weights are gone.
  const solved = inside.map((linear) => {
    const [outputs, inputs] = [linear.shape[0]!, linear.shape[1]!];
    const { sums, weights } = solving(linear, inside, solver, together);
    const left =
      lockstep && solver.polish === 0 && inputs > model.hidden
        ? share(kept, outputs * inputs, integers)
        : kept;
    return moment(
      left + integers + weights,
      sums,
      waiting(inputs > model.hidden ? holding(inputs) : attending),
    );
  });
  // Passes run through attention, one of them with what its gradients need, then through what is behind it with the products of its first layers, to hidden states of their own.
  const most = Math.max(0, ...inside.map(({ shape }) => shape[0]! * shape[1]!));
  const scores = 4 * together * (2 * model.heads * length + 4 * model.hidden);
  const turned = 4 * together * (2 * model.hidden + 4 * wide);
  const moving = [
    moment(kept + 4 * most, 0, scores + waiting(attending)),
    moment(kept + 4 * most, 0, solver.heads ? 4 * TOLD * model.heads * Math.min(length, PIECE) ** 2 : 0),
    moment(kept + integers + 4 * 3 * most, 0, turned + Math.max(streams, waiting(holding(deep)))),
  ];
  // The head's integers and outputs for the tokens that judge; its float weights are the network's own, or read anew.
  const quantized = new Set(plan.linears.map(({ name }) => name));
  const head = headLinear && quantized.has(headLinear.name) ? headLinear : null;
  const bits = plan.linears.find(({ name }) => name === head?.name)?.bits ?? 8;
  const alone = head && solving(head, [], bits < 8 ? solver : { ...solver, ridges: [] });
  const last = moment(alone ? alone.weights + (rotated ? 0 : second) : 0, alone?.sums ?? 0, 0);

  const sum = (one: typeof last): number => one.weights + one.gram + one.states;
  const worst = [...solved, ...moving, last].reduce((one, other) => (sum(other) > sum(one) ? other : one));
  const large = inside.some(({ shape }) => 8 * shape[1]! ** 2 >= LARGE_BYTES);
  const program = PROGRAM_BYTES[large ? 'large' : 'small'] + (rotated ? TRIAL_BYTES : 0);
  return {
    base: model.baseBytes,
    weights: outside + worst.weights + program,
    gram: worst.gram,
    states: streams + worst.states,
    total: model.baseBytes + program + outside + streams + sum(worst),
    lockstep,
  };
}

/**
 * Bytes that solving a layer takes: its sums, and weights, targets, integers, outputs for the tokens that judge, and of the tokens that
 * go through a block together its inputs, turned over, and errors before it.
 */
function solving(
  { name, block, shape }: Linear,
  inside: Linear[],
  solver: Solver,
  together = 0,
): { sums: number; weights: number } {
  const [outputs, inputs] = [shape[0]!, shape[1]!];
  const square = 8 * inputs ** 2;
  // Experts of a block are solved together, on sums that fit, and borrow from the sums of all.
  const pattern = patternOf(name);
  const experts = name.includes('.experts.')
    ? inside.filter((one) => one.block === block && patternOf(one.name) === pattern).length
    : 0;
  const cross = solver.ridges.length > 0 && solver.rounding === 'gptq' && experts === 0;
  const sharing = inside.filter((one) => one.block === block && one.shape[1] === inputs);
  const whole = sharing.reduce((sum, one) => sum + one.shape[0]!, 0) > inputs || outputs > inputs;
  const kept = Math.min(2, solver.ridges.length);
  const sums = experts > 0 ? Math.min(Math.max(square, SUM_BYTES), experts * square) + square : square;
  const parts = Math.min(TARGET_BYTES, 3 * 8 * outputs * inputs);
  return {
    sums: sums + (!cross ? 0 : whole ? kept * square : 4 * outputs * inputs),
    weights:
      outputs * inputs * (2 + (cross ? 4 * kept : 0)) +
      4 * HELD_TOKENS * (2 * inputs + outputs) +
      4 * together * inputs * (cross ? 2 : 1) +
      parts,
  };
}

/** A name with its numbers left out: equal for experts that do the same. */
const patternOf = (name: string): string => name.replaceAll(/\.\d+(?=\.|$)/g, '.*');

/** A solver whose `crossEvery` leaves enough of the batches to learn from: crossing of python/dopt/llm/block.py. */
function crossing(solver: Solver, batches: number, weights: number): Solver {
  const every = weights >= LARGE ? 1 : Math.min(solver.crossEvery, Math.floor(batches / LEAST_CROSSING));
  return { ...solver, crossEvery: Math.max(1, every) };
}

/** Whether a batch judges solutions instead of making them: judges of python/dopt/llm/block.py. */
const judges = ({ heldBack }: Solver, index: number, batches: number): boolean =>
  heldBack > 1 && batches > 1 && index % heldBack === Math.min(heldBack, batches) - 1;

/** Whether errors before a linear are learned from a batch that solves: crosses of python/dopt/llm/block.py. */
const crosses = (solver: Solver, index: number): boolean =>
  solver.ridges.length > 0 && solver.rounding === 'gptq' && index % solver.crossEvery === 0;

/** The share of batches that run through the float model: needs_float of python/dopt/llm/block.py. */
function floatShare(solver: Solver, batches: number): number {
  const indices = Array.from({ length: batches }, (_, index) => index);
  const judging = (index: number): boolean => judges(solver, index, batches);
  if (solver.polish > 0 || !indices.some(judging)) return 1;
  return indices.filter((index) => judging(index) || crosses(solver, index)).length / batches;
}

/** What a layer takes of a block's bytes. */
const share = (bytes: number, weights: number, all: number): number =>
  all > 0 ? (bytes * weights) / all : bytes;

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
