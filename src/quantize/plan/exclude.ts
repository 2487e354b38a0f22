import { UserError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { nearMatches } from '../../graph/near-match.js';

/**
 * Names of the nodes that --exclude keeps in float.
 *
 * A pattern is a node name, a weight name (the node that owns it), a tensor name (everything that reads the tensor, so
 * that the tensor needs no quantizer), or `op:Type`; `*` stands for any characters.
 * @throws UserError EXCLUDE_UNKNOWN when a pattern matches nothing, with names that come near
 */
export function excludedNodes(graph: Graph, patterns: readonly string[]): Set<string> {
  const excluded = new Set<string>();
  for (const pattern of patterns) {
    const matches = matcher(pattern);
    const found = graph.nodes.filter((node) => {
      if (pattern.startsWith('op:')) return matches(node.op);
      return matches(node.name) || node.inputs.some((input) => input !== '' && matches(input));
    });
    if (found.length === 0) throw unknown(graph, pattern);
    for (const node of found) excluded.add(node.name);
  }
  return excluded;
}

function matcher(pattern: string): (name: string) => boolean {
  const text = pattern.startsWith('op:') ? pattern.slice(3) : pattern;
  if (!text.includes('*')) return (name) => name === text;
  const escaped = text.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const expression = new RegExp(`^${escaped.join('.*')}$`, 's');
  return (name) => expression.test(name);
}

function unknown(graph: Graph, pattern: string): UserError {
  const names = pattern.startsWith('op:')
    ? graph.nodes.map((node) => `op:${node.op}`)
    : graph.nodes.flatMap((node) => [node.name, ...node.inputs.filter((input) => input !== '')]);
  const near = nearMatches(pattern, names);
  return new UserError(
    'EXCLUDE_UNKNOWN',
    `--exclude "${pattern}" matches no node, weight or tensor of the model.`,
    {
      found: pattern,
      suggestions: [
        ...(near.length > 0 ? [`Did you mean ${near.map((name) => `"${name}"`).join(' or ')}?`] : []),
        'List the names with: dopt inspect MODEL',
      ],
    },
  );
}
