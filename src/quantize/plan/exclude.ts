import type { GraphNode } from '../../config/graph.js';
import { UserError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { nearMatches } from '../../graph/near-match.js';

/**
 * Names of the nodes that --exclude keeps in float.
 *
 * A pattern is a node name, a weight name (every node that owns it), a tensor name (everything that reads the tensor, so
 * that it needs no quantizer; what computes it, for a graph output) or `op:Type`; `*` stands for any characters. Tensors
 * are looked up only when no node or weight has the name: exporters name tensors after the nodes that compute them, and
 * `backbone/*` is not meant to reach the first node behind the backbone.
 *
 * @throws UserError EXCLUDE_UNKNOWN when patterns match nothing, with names that come near
 */
export function excludedNodes(graph: Graph, patterns: readonly string[]): Set<string> {
  const found = patterns.map((pattern) => [pattern, nodesFor(graph, pattern)] as const);
  const unknown = found.filter(([, nodes]) => nodes.length === 0).map(([pattern]) => pattern);
  if (unknown.length > 0) throw unknownPatterns(graph, unknown);
  return new Set(found.flatMap(([, nodes]) => nodes.map((node) => node.name)));
}

function nodesFor(graph: Graph, pattern: string): GraphNode[] {
  if (pattern.startsWith('op:')) {
    const matches = matcher(pattern.slice('op:'.length));
    return graph.nodes.filter((node) => matches(node.op) || matches(operatorName(node)));
  }
  const matches = matcher(pattern);
  const named = graph.nodes.filter(
    (node) => matches(node.name) || node.inputs.some((input) => graph.isConstant(input) && matches(input)),
  );
  if (named.length > 0) return named;
  return graph.nodes.filter(
    (node) =>
      graph.dataInputs(node).some(matches) ||
      node.outputs.some((output) => graph.isOutput(output) && matches(output)),
  );
}

/** Type of a node with its domain, unless that is the default one. */
export const operatorName = (node: GraphNode): string =>
  node.domain ? `${node.domain}.${node.op}` : node.op;

/** Whether a name is the pattern's, where `*` stands for any characters. */
export function matcher(pattern: string): (name: string) => boolean {
  if (!pattern.includes('*')) return (name) => name === pattern;
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const expression = new RegExp(`^${parts.join('.*')}$`, 's');
  return (name) => expression.test(name);
}

function unknownPatterns(graph: Graph, patterns: readonly string[]): UserError {
  const names = new Set(
    graph.nodes.flatMap((node) => [
      node.name,
      `op:${operatorName(node)}`,
      ...node.inputs.filter((input) => input !== ''),
      ...node.outputs.filter((output) => graph.isOutput(output)),
    ]),
  );
  const hints = patterns.flatMap((pattern) => {
    const near = nearMatches(pattern, names).map((name) => `"${name}"`);
    return near.length > 0 ? [`For "${pattern}", did you mean ${near.join(' or ')}?`] : [];
  });
  const quoted = patterns.map((pattern) => `"${pattern}"`).join(', ');
  return new UserError(
    'EXCLUDE_UNKNOWN',
    `--exclude ${quoted} matches no node, weight or tensor of the model.`,
    {
      found: patterns.join(', '),
      suggestions: [...hints, 'List the names with: dopt inspect MODEL'],
    },
  );
}
