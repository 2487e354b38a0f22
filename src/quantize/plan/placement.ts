import type { ActivationPlan, Group, QuantizerFormat } from '../../config/plan.js';
import type { Graph } from '../../graph/graph.js';
import type { TargetProfile } from '../../target/profiles.js';
import type { Cause } from './float-causes.js';
import { integerGroups } from './integer-groups.js';
import { floatReaders, namePrecision, type Precision, widened } from './precision.js';
import { placeQuantizers } from './quantizers.js';

export interface Placement {
  integer: ReadonlySet<Group>;
  activations: ActivationPlan[];
  /** Why groups stay float that somebody asked to, by name. */
  asked: ReadonlyMap<string, Cause>;
}

/**
 * Which groups run in integers, and the quantizers that they need. What reads a tensor that is to stay float leaves the
 * integer groups, and quantizers are placed anew: some were there for it alone.
 *
 * @param groups in graph order
 * @param float groups that stay float in any case, by name
 * @param excluded groups that the user took out
 * @param format of quantizers that `precision` does not name
 * @throws UserError PRECISION_UNKNOWN
 */
export function placement(
  graph: Graph,
  groups: readonly Group[],
  profile: TargetProfile,
  float: ReadonlySet<string>,
  excluded: ReadonlyMap<string, Cause>,
  format: QuantizerFormat,
  precision: Precision = { int16: [], float: [] },
): Placement {
  const place = (asked: ReadonlyMap<string, Cause>): Placement => {
    const integer = integerGroups(graph, groups, profile, ({ name }) => float.has(name) || asked.has(name));
    return { integer, activations: placeQuantizers(graph, groups, integer, profile, format), asked };
  };
  const first = place(excluded);
  const named = namePrecision(first.activations, precision);
  const kept = floatReaders(graph, first.integer, named.float);
  const placed = kept.size > 0 ? place(new Map([...excluded, ...kept])) : first;
  return { ...placed, activations: widened(placed.activations, named.int16) };
}
