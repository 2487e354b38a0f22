import type { GraphNode } from '../../config/graph.js';
import type { FloatNode, Group } from '../../config/plan.js';
import { UserError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { operatorRole } from '../../graph/operators.js';
import { postprocessingNodes } from '../../graph/postprocessing.js';
import { shapeNodes } from '../../graph/shape-nodes.js';
import type { TargetProfile } from '../../target/profiles.js';
import { operatorName } from './exclude.js';

export type Cause = Pick<FloatNode, 'cause' | 'reason'>;

/** Nodes that stay float whatever the user asks for, with the reason; nothing is fused with them. */
export function floatCauses(graph: Graph): Map<string, Cause> {
  const tail = postprocessingNodes(graph);
  const shapes = shapeNodes(graph);
  const causes = new Map<string, Cause>();
  for (const node of graph.nodes) {
    const cause = floatCause(graph, node, tail, shapes);
    if (cause) causes.set(node.name, cause);
  }
  return causes;
}

function floatCause(
  graph: Graph,
  node: GraphNode,
  tail: ReadonlyMap<string, string>,
  shapes: ReadonlySet<string>,
): Cause | null {
  const role = operatorRole(node.op, node.domain);
  if (role === undefined)
    return { cause: 'unsupported', reason: `dopt does not know the operator ${operatorName(node)}` };
  if (shapes.has(node.name)) return { cause: 'shape', reason: 'computes with shapes, not values' };
  const decoding = tail.get(node.name);
  if (decoding !== undefined) return { cause: 'postprocessing', reason: decoding };
  if (!node.outputs.some((output) => output !== '' && graph.isFloat(output)))
    return { cause: 'shape', reason: 'its results are no float32 values' };
  if (role === 'control')
    return { cause: 'unsupported', reason: `${node.op} runs a graph of its own, which stays float` };
  return null;
}

/**
 * Makes operators that dopt cannot quantize an error (--strict), except where the user excluded them.
 * @throws UserError OPERATOR_UNKNOWN that lists all of them
 */
export function refuseUnsupported(
  graph: Graph,
  causes: ReadonlyMap<string, Cause>,
  excluded: ReadonlySet<string>,
): void {
  const nodes = graph.nodes.filter(
    ({ name }) => causes.get(name)?.cause === 'unsupported' && !excluded.has(name),
  );
  if (nodes.length === 0) return;
  const names = [...new Set(nodes.map(operatorName))];
  throw new UserError('OPERATOR_UNKNOWN', `dopt cannot quantize these operators: ${names.join(', ')}.`, {
    found: nodes.map((node) => `${node.name} (${operatorName(node)})`).join(', '),
    suggestions: [
      'Leave --strict out: these operators then stay in float and are listed in the report.',
      `Say that they may stay float: ${names.map((name) => `--exclude op:${name}`).join(' ')}`,
    ],
  });
}

export const EXCLUDED: Cause = { cause: 'excluded', reason: 'named by --exclude' };

/**
 * Why the nodes of a group that is not quantized stay float.
 * @param asked why the whole group was taken out, if somebody asked for it
 */
export function floatNodes(
  graph: Graph,
  group: Group,
  causes: ReadonlyMap<string, Cause>,
  asked: Cause | undefined,
  profile: TargetProfile,
): FloatNode[] {
  const policy: Cause = { cause: 'policy', reason: policyReason(group, profile) };
  return group.nodes.map((name) => ({
    node: name,
    op: graph.node(name)!.op,
    ...(asked ?? causes.get(name) ?? policy),
  }));
}

/** Kinds of group that some target computes in integers. */
const SOMEWHERE_INTEGER: ReadonlySet<string> = new Set(['add', 'sub', 'mul', 'pool', 'concat', 'resample']);

function policyReason({ kind, activation }: Group, profile: TargetProfile): string {
  if (SOMEWHERE_INTEGER.has(kind) && !profile.integerKinds.has(kind))
    return `${profile.name} has no integer form of it`;
  if (SOMEWHERE_INTEGER.has(kind) || kind === 'pass-through') return 'no integer operator reads its result';
  if (kind === 'activation')
    return `${activation ?? 'a gain and offset by constants'} stands alone: computed in float between quantized tensors`;
  if (kind === 'normalization')
    return 'a normalization or reduction, computed in float between quantized tensors';
  if (kind === 'recurrent') return 'recurrent weights stay float';
  return 'computed in float between quantized tensors';
}
