import { basename, extname } from 'node:path';
import type { Dim } from '../config/common.js';
import type { GraphFile } from '../config/graph.js';
import type { CaptureGraphOptions } from '../doors/captured-graph.js';
import { Graph, loadGraph } from '../graph/graph.js';
import { isZooName, ZOO_PREFIX } from './names.js';

/** A network that is to be judged by its shapes. */
export interface Network {
  name: string;
  graph: Graph;
  notes: string[];
}

/**
 * The graph of a network of shapes (`zoo:resnet50`), of a graph.json, or of a model that the doors take.
 *
 * Rejects with UserError ZOO_UNKNOWN, GRAPH_BROKEN, and as the doors do.
 */
export async function networkOf(options: CaptureGraphOptions): Promise<Network> {
  const { model } = options;
  if (isZooName(model)) {
    const { zooGraph } = await import('./zoo/find.js');
    return { name: model.slice(ZOO_PREFIX.length), graph: zooGraph(model), notes: [] };
  }
  const name = basename(model, extname(model));
  if (extname(model).toLowerCase() === '.json') return { name, graph: await loadGraph(model), notes: [] };
  const { cachedGraph } = await import('../doors/graph-cache.js');
  const { graph, notes } = await cachedGraph(options);
  const single = batchOfOne(graph);
  if (!single) return { name, graph, notes };
  const shapes = { ...single, ...options.inputShapes };
  const given = Object.keys(single).every((input) => input in options.inputShapes);
  const note = given ? [] : ['The batch is open: costs are those of one sample.'];
  const fixed = withFixedBatch(graph, shapes);
  if (hasSizes(fixed)) return { name, graph: fixed, notes: [...notes, ...note] };
  const again = await cachedGraph({ ...options, inputShapes: shapes });
  return { name, graph: withFixedBatch(again.graph, shapes), notes: [...again.notes, ...note] };
}

const hasSizes = ({ file }: Graph): boolean =>
  Object.values(file.tensors).every(({ shape }) => shape?.every((size) => typeof size === 'number'));

/** Shapes with a batch of one for inputs of which the batch alone is open; null where nothing is open, or more is. */
export function batchOfOne({ file }: Graph): Record<string, number[]> | null {
  const open = file.inputs.filter(({ shape }) => typeof shape?.[0] !== 'number' && shape?.length !== 0);
  const rest = open.map(({ shape }) => shape?.slice(1) ?? [null]);
  if (open.length === 0 || !rest.flat().every((size) => typeof size === 'number')) return null;
  return Object.fromEntries(open.map(({ name }, i) => [name, [1, ...(rest[i] as number[])]]));
}

/** A size by name, or a multiple of one (`16*batch`), as capture writes it; the name itself where it is not known. */
function sizeOf(size: string, sizes: ReadonlyMap<Dim | undefined, number>): Dim {
  const [, times, name] = /^(\d+)\*(.+)$/.exec(size) ?? [null, '1', size];
  const known = sizes.get(name!);
  return known === undefined ? size : Number(times) * known;
}

/**
 * The graph with a batch where the batch alone is open and shapes call it by a name; the graph as it is otherwise.
 * @param shapes that inputs are given, by name; one sample where there is none
 */
export function withFixedBatch(
  graph: Graph,
  shapes: Readonly<Record<string, readonly number[]>> = {},
): Graph {
  if (!batchOfOne(graph)) return graph;
  const { inputs, outputs, tensors, ...rest } = graph.file;
  const sizes = new Map(inputs.map(({ name, shape }) => [shape?.[0], shapes[name]?.[0] ?? 1]));
  const fixed = <T extends { shape: GraphFile['inputs'][number]['shape'] }>(value: T): T => ({
    ...value,
    shape: value.shape?.map((size) => (typeof size === 'string' ? sizeOf(size, sizes) : size)) ?? null,
  });
  return new Graph({
    ...rest,
    inputs: inputs.map(fixed),
    outputs: outputs.map(fixed),
    tensors: Object.fromEntries(Object.entries(tensors).map(([name, type]) => [name, fixed(type)])),
  });
}
