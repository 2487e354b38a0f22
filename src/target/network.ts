import { basename, extname } from 'node:path';
import type { CaptureGraphOptions } from '../doors/captured-graph.js';
import { UserError } from '../errors.js';
import { Graph, loadGraph } from '../graph/graph.js';
import { nearMatches } from '../graph/near-match.js';
import { ZOO } from './zoo/index.js';

/** A network that is to be judged by its shapes. */
export interface Network {
  name: string;
  graph: Graph;
  notes: string[];
}

/** How the networks of shapes are called where a model file could stand. */
const ZOO_PREFIX = 'zoo:';

export const isZooName = (model: string): boolean => model.startsWith(ZOO_PREFIX);

/**
 * The graph of a network of shapes (`zoo:resnet50`), of a graph.json, or of a model that the doors take.
 *
 * Rejects with UserError ZOO_UNKNOWN, GRAPH_BROKEN, and as the doors do.
 */
export async function networkOf(options: CaptureGraphOptions): Promise<Network> {
  const { model } = options;
  if (isZooName(model)) return { name: model.slice(ZOO_PREFIX.length), graph: zooGraph(model), notes: [] };
  const name = basename(model, extname(model));
  if (extname(model).toLowerCase() === '.json') return { name, graph: await loadGraph(model), notes: [] };
  const { cachedGraph } = await import('../doors/graph-cache.js');
  const { graph, notes } = await cachedGraph(options);
  const single = batchOfOne(graph);
  if (!single) return { name, graph, notes };
  const fixed = await cachedGraph({ ...options, inputShapes: { ...single, ...options.inputShapes } });
  return {
    name,
    graph: fixed.graph,
    notes: [...fixed.notes, 'The batch is open: costs are those of one sample.'],
  };
}

/** Shapes with a batch of one for inputs of which the batch alone is open; null where nothing is open, or more is. */
export function batchOfOne({ file }: Graph): Record<string, number[]> | null {
  const open = file.inputs.filter(({ shape }) => typeof shape?.[0] !== 'number' && shape?.length !== 0);
  const rest = open.map(({ shape }) => shape?.slice(1) ?? [null]);
  if (open.length === 0 || !rest.flat().every((size) => typeof size === 'number')) return null;
  return Object.fromEntries(open.map(({ name }, i) => [name, [1, ...(rest[i] as number[])]]));
}

function zooGraph(model: string): Graph {
  const make = ZOO[model.slice(ZOO_PREFIX.length)];
  if (make) return new Graph(make());
  const names = Object.keys(ZOO).map((name) => `${ZOO_PREFIX}${name}`);
  throw new UserError('ZOO_UNKNOWN', `There is no network of shapes called ${model}.`, {
    expected: names.join(', '),
    suggestions: nearMatches(model, names, 1).map((name) => `Did you mean ${name}?`),
  });
}
