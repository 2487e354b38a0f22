import type { GraphFile } from '../config/graph.js';

/**
 * What is wrong with the edges of a graph, or null: nodes are named once, every tensor is written once and before it is
 * read, every graph output exists. What looks tensors up by name relies on it.
 */
export function structureFault(file: GraphFile): string | null {
  const written = new Set<string>();
  for (const { name } of [...file.inputs, ...file.initializers]) {
    if (written.has(name)) return `"${name}" is an input or initializer twice`;
    written.add(name);
  }
  const names = new Set<string>();
  for (const node of file.nodes) {
    if (names.has(node.name)) return `two nodes are named "${node.name}"`;
    names.add(node.name);
    for (const input of [...node.inputs, ...(node.captures ?? [])]) {
      if (input !== '' && !written.has(input))
        return `node "${node.name}" reads "${input}" before it is written`;
    }
    for (const output of node.outputs) {
      if (output === '') continue;
      if (written.has(output)) return `"${output}" is written twice`;
      written.add(output);
    }
  }
  const missing = file.outputs.find((output) => !written.has(output.name));
  return missing ? `graph output "${missing.name}" is written by no node` : null;
}
