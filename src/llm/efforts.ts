import type { Params } from '../bridge/protocol.js';
import type { LlmEffort } from './options.js';

export type Solver = Params<'llmQuantize'>['solver'];

/** Rounding to nearest with the clip of least weighted error: seconds, and no claim to accuracy. */
const PREVIEW: Solver = {
  scales: 'weighted',
  rounding: 'nearest',
  actOrder: false,
  damping: 0.01,
  dampingMost: 0.1,
  ridges: [],
  crossEvery: 1,
  heads: false,
  refit: false,
  sweeps: 0,
  polish: 0,
  heldBack: 0,
  sequential: false,
  rotate: 'never',
};

/** Error feedback in the order of the inputs' power, rows of a head together, then a sweep of coordinate descent and scales fitted again. */
const FAST: Solver = {
  ...PREVIEW,
  rounding: 'gptq',
  actOrder: true,
  heads: true,
  refit: true,
  sweeps: 1,
  heldBack: 8,
  sequential: true,
};

/** Makes up for errors before a layer as well, as a share of the samples shows them in both models. */
const BALANCED: Solver = { ...FAST, ridges: [0.1], crossEvery: 4, rotate: 'auto' };

/** Trains the scales of each block as well: several times as long. */
const BEST: Solver = { ...BALANCED, ridges: [0.01, 0.1, 1], crossEvery: 1, sweeps: 4, polish: 8 };

const SOLVERS: Record<LlmEffort, Solver> = { preview: PREVIEW, fast: FAST, balanced: BALANCED, best: BEST };

/** How weights are solved for at an effort; `rotate` counts where the effort rotates at all. */
export function solverFor(effort: LlmEffort, rotate: Solver['rotate']): Solver {
  const solver = SOLVERS[effort];
  return { ...solver, rotate: rotate === 'auto' ? solver.rotate : rotate };
}
