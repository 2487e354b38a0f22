import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { GraphFile } from '../config/graph.js';
import { Graph } from '../graph/graph.js';
import { writeFileAtomic } from '../run/atomic.js';
import { digestOf } from '../run/digest.js';
import { VERSION } from '../version.js';
import type { CapturedGraph, CaptureGraphOptions } from './captured-graph.js';

/** Most graphs that are kept; each takes about a hundred kilobytes. */
const MOST = 200;

/** A graph as it is kept. Written by this version alone and read as it is: checking a large one takes longer than all else. */
type Kept = Pick<CapturedGraph, 'opset' | 'notes'> & { graph: GraphFile };

/** Folder of the graphs of models seen before: $DOPT_HOME/graphs, by default ~/.cache/dopt/graphs. */
const graphsFolder = (): string =>
  join(resolve(process.env.DOPT_HOME || join(homedir(), '.cache/dopt')), 'graphs');

/**
 * The graph of a model, captured once as long as the file stays the same: place, size and time of change say so, as git
 * has it. A network defined in Python is captured every time, because its file may import others.
 *
 * Rejects as captureGraph does.
 */
export async function cachedGraph(options: CaptureGraphOptions): Promise<CapturedGraph> {
  const key = await keyOf(options);
  const path = key && join(graphsFolder(), `${key}.json`);
  const known = path && (await read(path));
  if (known) return known;
  const { captureGraph } = await import('./captured-graph.js');
  const captured = await captureGraph(options);
  if (!path) return captured;
  const { graph, opset, notes } = captured;
  const kept: Kept = { graph: graph.file, opset, notes };
  await keep(path, JSON.stringify(kept));
  return captured;
}

async function keyOf(options: CaptureGraphOptions): Promise<string | null> {
  const { model, framework, inputShapes, outputs, float16ToFloat32 } = options;
  const stats = await stat(model, { bigint: true }).catch(() => null);
  if (!stats?.isFile() || /\.py$/i.test(model)) return null;
  const state = [model, stats.size, stats.mtimeNs, stats.ino].map(String);
  return digestOf({ state, framework, inputShapes, outputs, float16ToFloat32, VERSION }).slice(0, 32);
}

async function read(path: string): Promise<CapturedGraph | null> {
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return null;
  try {
    const { graph, opset, notes } = JSON.parse(text) as Kept;
    return { graph: new Graph(graph), opset, notes };
  } catch {
    // Damaged: captured anew.
    return null;
  }
}

/** Keeps a graph and forgets the oldest ones. A cache that cannot be written is no error: the next call is slower. */
async function keep(path: string, text: string): Promise<void> {
  const folder = graphsFolder();
  try {
    await mkdir(folder, { recursive: true });
    await writeFileAtomic(path, text);
    const names = (await readdir(folder)).filter((name) => name.endsWith('.json'));
    if (names.length <= MOST) return;
    const dated = await Promise.all(
      names.map(async (name) => ({ name, time: (await stat(join(folder, name))).mtimeMs })),
    );
    const oldest = dated.sort((a, b) => a.time - b.time).slice(0, names.length - MOST);
    await Promise.all(oldest.map(({ name }) => rm(join(folder, name), { force: true })));
  } catch {
    // see above
  }
}
