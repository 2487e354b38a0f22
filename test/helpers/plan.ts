import type { Plan } from '../../src/config/plan.js';
import { UserError } from '../../src/errors.js';
import type { Graph } from '../../src/graph/graph.js';
import { type PlanOptions, planQuantization } from '../../src/quantize/plan.js';
import { type TargetProfile, targetProfile } from '../../src/target/profiles.js';

/** Read once: property tests plan thousands of times. */
const profiles = new Map<string, TargetProfile>();

function profileOf(target: string): TargetProfile {
  const profile = profiles.get(target) ?? targetProfile(target);
  profiles.set(target, profile);
  return profile;
}

export function plan(graph: Graph, options: Partial<PlanOptions> = {}): Plan {
  const target = options.target ?? 'generic-npu';
  const rest = { strategy: 'int8-8' as const, exclude: [], strict: false, ...options };
  return planQuantization(graph, { ...rest, target }, profileOf(target));
}

/** Rule of each quantized tensor: what it shares with, the bounds it has, or 'observed'. */
export const rules = (graph: Graph, options: Partial<PlanOptions> = {}): Record<string, string> =>
  Object.fromEntries(
    plan(graph, options).activations.map(({ tensor, range }) => {
      if (range.kind === 'shared') return [tensor, range.with];
      return [tensor, range.kind === 'fixed' ? `${range.low}..${range.high}` : range.kind];
    }),
  );

export const floatOps = (graph: Graph, options: Partial<PlanOptions> = {}): string[] =>
  plan(graph, options).floatNodes.map(({ op, cause }) => `${cause}:${op}`);

/** The user error that `run` ends with. */
export function errorOf(run: () => unknown): UserError {
  try {
    run();
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
