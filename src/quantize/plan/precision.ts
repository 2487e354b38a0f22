import type { ActivationPlan, Group, QuantizerFormat } from '../../config/plan.js';
import { Bug, UserError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { nearMatches } from '../../graph/near-match.js';
import { matcher } from './exclude.js';
import type { Cause } from './float-causes.js';
import { valueTensors } from './integer-groups.js';

/** Quantized tensors that take another precision than the strategy's, by name or pattern (`*` stands for anything). */
export interface Precision {
  /** Carry int16. */
  int16: readonly string[];
  /** Are not quantized: what reads them computes in float. */
  float: readonly string[];
}

/** The 16-bit format: symmetric, as the devices have it. */
export const INT16: QuantizerFormat = { bits: 16, signed: true, symmetric: true };

/** A precision with every tensor by its name. */
export interface NamedPrecision {
  int16: ReadonlySet<string>;
  float: ReadonlySet<string>;
}

/**
 * The quantized tensors that a precision is about. Those that share parameters share the precision: a name stands for all
 * of them.
 *
 * @throws UserError PRECISION_UNKNOWN when patterns match no quantized tensor, with names that come near
 */
export function namePrecision(
  activations: readonly ActivationPlan[],
  { int16, float }: Precision,
): NamedPrecision {
  const roots = parameterRoots(activations);
  const sharers = (patterns: readonly string[]): Set<string> => {
    const found = patterns.map((pattern) => [pattern, [...roots.keys()].filter(matcher(pattern))] as const);
    const unknown = found.filter(([, tensors]) => tensors.length === 0).map(([pattern]) => pattern);
    if (unknown.length > 0) throw unknownTensors(unknown, roots.keys());
    const named = new Set(found.flatMap(([, tensors]) => tensors.map((tensor) => roots.get(tensor)!)));
    return new Set([...roots].filter(([, root]) => named.has(root)).map(([tensor]) => tensor));
  };
  return { int16: sharers(int16), float: sharers(float) };
}

/** Gives the named tensors, and those that share parameters with one of them, 16 bits. */
export function widened(
  activations: readonly ActivationPlan[],
  int16: ReadonlySet<string>,
): ActivationPlan[] {
  const roots = parameterRoots(activations);
  const wide = new Set([...int16].map((tensor) => roots.get(tensor)));
  return activations.map((activation) =>
    wide.has(roots.get(activation.tensor)) ? { ...activation, format: INT16 } : activation,
  );
}

/** For each quantized tensor the one at the end of its chain of shared parameters. */
export function parameterRoots(activations: readonly ActivationPlan[]): Map<string, string> {
  const rules = new Map(activations.map(({ tensor, range }) => [tensor, range]));
  const rootOf = (tensor: string, depth = 0): string => {
    const rule = rules.get(tensor);
    if (!rule || depth > rules.size) throw new Bug(`${tensor} shares parameters in a circle or with nothing`);
    return rule.kind === 'shared' ? rootOf(rule.with, depth + 1) : tensor;
  };
  return new Map(activations.map(({ tensor }) => [tensor, rootOf(tensor)]));
}

/** The groups that compute with a tensor that stays float, and why they do not run in integers. */
export function floatReaders(
  graph: Graph,
  integer: Iterable<Group>,
  float: ReadonlySet<string>,
): Map<string, Cause> {
  const readers = [...integer].flatMap((group): [string, Cause][] => {
    const tensor = valueTensors(graph, group).find((input) => float.has(input));
    if (tensor === undefined || group.kind === 'pass-through') return [];
    return [[group.name, { cause: 'precision', reason: `reads ${tensor}, which stays float for accuracy` }]];
  });
  return new Map(readers);
}

function unknownTensors(patterns: readonly string[], known: Iterable<string>): UserError {
  const names = [...known];
  const hints = patterns.flatMap((pattern) => {
    const near = nearMatches(pattern, names).map((name) => `"${name}"`);
    return near.length > 0 ? [`For "${pattern}", did you mean ${near.join(' or ')}?`] : [];
  });
  return new UserError(
    'PRECISION_UNKNOWN',
    `The precision of ${patterns.map((pattern) => `"${pattern}"`).join(', ')} cannot be set: no quantized tensor has that name.`,
    {
      found: patterns.join(', '),
      suggestions: [...hints, 'List the quantized tensors with: dopt inspect MODEL --json'],
    },
  );
}
