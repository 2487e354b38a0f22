import type { Graph } from '../graph/graph.js';

/** Samples that a walk uses where memory allows; 200 of them gave proxyless-w0.25 no better result (22.96 dB). */
const MOST = 64;

/** How many times as many samples a long walk takes where memory allows, and how many times as much memory. */
const LONG = { samples: 4, memory: 2 };

/** A walk with fewer samples corrects noise. */
const LEAST = 8;

/** Activations that a walk may hold at once, over all samples. */
const BUDGET = 2 ** 30;

/** What is held of a sample at a time: live tensors of the float and of the quantized model, and a layer's two results. */
const COPIES = 3;

/**
 * How many samples a walk over the layers takes: it holds the live activations of all of them, so a network with large
 * ones gets fewer. Unknown dimensions count as 1.
 */
export function walkSamples(graph: Graph, long = false): number {
  const peak = liveElements(graph) * Float32Array.BYTES_PER_ELEMENT * COPIES;
  const times = long ? LONG : { samples: 1, memory: 1 };
  const fitting = Math.floor((times.memory * BUDGET) / Math.max(1, peak));
  return Math.max(LEAST, Math.min(times.samples * MOST, fitting));
}

/**
 * The samples of a walk out of those that calibrate, evenly spread over them: folders are often sorted by class, and the
 * first samples then are of few classes (efficientnet-lite0 on the first 37 of 200 pictures, all of them animals: 16.0 dB).
 */
export function walkIndices(graph: Graph, indices: readonly number[], long = false): number[] {
  const count = Math.min(walkSamples(graph, long), indices.length);
  return Array.from({ length: count }, (_, i) => indices[Math.floor((i * indices.length) / count)]!);
}

/** Most elements that are computed and still to be read at any time, running node by node on one sample. */
export function liveElements(graph: Graph): number {
  const { nodes, inputs, outputs } = graph.file;
  const lastUse = new Map<string, number>();
  nodes.forEach((node, position) => {
    for (const tensor of [...node.inputs, ...(node.captures ?? [])]) lastUse.set(tensor, position);
  });
  for (const { name } of outputs) lastUse.set(name, nodes.length);
  const size = (tensor: string): number =>
    (graph.shape(tensor) ?? []).reduce<number>((product, dim) => product * (dim ?? 1), 1);

  let live = inputs.reduce((sum, { name }) => sum + size(name), 0);
  let most = live;
  nodes.forEach((node, position) => {
    live += node.outputs.filter((tensor) => lastUse.has(tensor)).reduce((sum, t) => sum + size(t), 0);
    most = Math.max(most, live);
    const read = new Set([...node.inputs, ...(node.captures ?? [])]);
    for (const tensor of read) {
      if (tensor && lastUse.get(tensor) === position && !graph.isConstant(tensor)) live -= size(tensor);
    }
  });
  return most;
}
