import { EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import type { Effort } from './effort.js';

/** Algorithms that a run can do without, each with what it does. What is essential has no switch. */
export const ALGORITHMS = {
  fusedActivations: 'one unit of a function spelled in several operators (SiLU, GELU, …)',
  equalization: 'channels scaled against each other between layers and behind normalizations',
  channelScales: 'a scale a channel where only depthwise convolutions read',
  concatTies: 'one scale for a concatenation only where it costs least; without, always',
  exactSums: 'scales of few bits where a layer sums few products, so that all runtimes compute the same',
  refineRanges: 'ranges compared at the output of the next layer',
  reconstruction: 'weights solved to keep the output of their layer',
  biasCorrection: 'means of the remaining errors moved into biases',
  wideInputs: '16 bits for inputs of the network that 8 are too few for, where the target has them',
  sumTargets: 'layers before a sum make up for what its other term has lost',
  leastError: 'the range of least error, though samples cannot tell it from a wider one',
  longWalk: 'refinement on four times as many samples',
} as const;

export type Algorithm = keyof typeof ALGORITHMS;

/** Which algorithms run. */
export type Engine = Readonly<Record<Algorithm, boolean>>;

const NAMES = Object.keys(ALGORITHMS) as Algorithm[];

/** Algorithms that help some networks and harm others: they run where asked for, or where a comparison found them better. */
export const DOUBTFUL: readonly Algorithm[] = ['sumTargets', 'leastError', 'longWalk'];

/** What an effort does not begin with. */
const LEFT_OUT: Readonly<Record<Effort, readonly Algorithm[]>> = {
  fast: ['equalization', 'refineRanges', 'reconstruction', 'biasCorrection', ...DOUBTFUL],
  balanced: DOUBTFUL,
  best: DOUBTFUL,
};

/** The engine of an effort, less the algorithms in `without`, with those in `added`. */
export function engineFor(
  effort: Effort,
  without: readonly Algorithm[] = [],
  added: readonly Algorithm[] = [],
): Engine {
  const off = new Set<Algorithm>([...LEFT_OUT[effort], ...without]);
  for (const name of added) off.delete(name);
  return Object.fromEntries(NAMES.map((name) => [name, !off.has(name)])) as Engine;
}

/** Name of an algorithm on the command line and in results: channelScales is channel-scales. */
export const algorithmName = (algorithm: Algorithm): string =>
  algorithm.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Names of all algorithms, as the command line takes them. */
export const ALGORITHM_NAMES: readonly string[] = NAMES.map(algorithmName);

/** Names of the algorithms that run though the effort does not begin with them. */
export const switchedOn = (engine: Engine, effort: Effort): string[] =>
  NAMES.filter((name) => !engineFor(effort)[name] && engine[name]).map(algorithmName);

/** Names of the algorithms that do not run though the effort has time for them. */
export const switchedOff = (engine: Engine, effort: Effort): string[] =>
  NAMES.filter((name) => engineFor(effort)[name] && !engine[name]).map(algorithmName);

/**
 * Algorithms by their names on the command line.
 * @throws UserError ALGORITHM_UNKNOWN with names that come near
 */
export function algorithmsNamed(names: readonly string[]): Algorithm[] {
  return names.map((name) => {
    const found = NAMES.find((algorithm) => algorithmName(algorithm) === name);
    if (found) return found;
    throw new UserError('ALGORITHM_UNKNOWN', `dopt has no algorithm called "${name}".`, {
      exitCode: EXIT.usage,
      expected: ALGORITHM_NAMES.join(', '),
      found: name,
      suggestions: nearMatches(name, ALGORITHM_NAMES).map((near) => `Did you mean ${near}?`),
    });
  });
}
