import type { Group } from '../../config/plan.js';
import type { Graph } from '../../graph/graph.js';
import { valueInputs } from '../../graph/operators.js';
import type { TargetProfile } from '../../target/profiles.js';

/** Kinds of group with weights: the reason for quantizing at all. */
export const LAYER_KINDS: ReadonlySet<string> = new Set(['conv', 'convtranspose', 'gemm', 'matmul']);

/** Tensors that a group computes with, constants apart: what it reads quantized when it runs in integers. */
export function valueTensors(graph: Graph, group: Group): string[] {
  const node = graph.node(group.name)!;
  const tensors = valueInputs(node).map((index) => node.inputs[index] ?? '');
  return [...new Set(tensors.filter((tensor) => tensor !== '' && !graph.isConstant(tensor)))];
}

/**
 * The groups that compute in integers, and those that move values which may be stored as integers.
 *
 * Layers always do. A sum, product, pooling or concatenation does when an integer group reads its result in the end, be
 * it through operators that move values or functions of one tensor. One that only a normalization or softmax reads, like
 * the sum before a layer normalization or a mask on attention scores, would be rounded for nothing.
 *
 * @param groups in graph order
 * @param isFloat groups that stay float for a reason of their own; those without float32 results are among them
 */
export function integerGroups(
  graph: Graph,
  groups: readonly Group[],
  { integerKinds, storage }: TargetProfile,
  isFloat: (group: Group) => boolean,
): Set<Group> {
  const integer = new Set<Group>();
  const kinds = new Set([...integerKinds, ...(storage === 'integer' ? ['pass-through'] : [])]);
  const asked = new Set<string>();
  for (const group of [...groups].reverse()) {
    if (isFloat(group)) continue;
    const tensors = valueTensors(graph, group);
    const outputs = group.nodes.flatMap((name) => graph.node(name)!.outputs);
    const isAsked = outputs.some((output) => asked.has(output));
    const usable = tensors.length > 0 && kinds.has(group.kind);
    const runs = usable && (LAYER_KINDS.has(group.kind) || isAsked);
    if (runs) integer.add(group);
    const handsOn = isAsked && (group.kind === 'activation' || group.kind === 'pass-through');
    if (runs || handsOn) for (const tensor of tensors) asked.add(tensor);
  }
  return integer;
}
