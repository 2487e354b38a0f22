import { readFileSync } from 'node:fs';
import type { GraphFile } from '../../../src/config/graph.js';
import { NetworkBuilder, type Tensor } from '../../../src/target/zoo/builder.js';

/** A cell of NAS-Bench-201 with the milliseconds that its network took on each device. */
export interface Cell {
  /** Operation of each edge, for nodes 1, 2, 3 from all nodes before them. */
  edges: readonly string[];
  milliseconds: Readonly<Record<string, number>>;
}

/** Reads the table of HELP (Lee et al., 2021): all 15,625 cells. */
export function readCells(path: string): Cell[] {
  const [head, ...lines] = readFileSync(path, 'utf8').trim().split('\n');
  const columns = head!.split(',').slice(2);
  return lines.map((line) => {
    const [, text, ...values] = line.split(',');
    return {
      edges: [...text!.matchAll(/([a-z_0-9]+)~\d/g)].map((match) => match[1]!),
      milliseconds: Object.fromEntries(columns.map((name, index) => [name, Number(values[index])])),
    };
  });
}

/** Edges into each node: [from, to]. */
const EDGES = [
  [0, 1],
  [0, 2],
  [1, 2],
  [0, 3],
  [1, 3],
  [2, 3],
] as const;

/**
 * The network of a cell: Dong, Yang, "NAS-Bench-201", 2020, figure 1: three stages of five cells with 16, 32 and 64
 * channels, residual blocks between them, pictures of 32 pixels.
 * @param compiled as a compiler leaves it: zeros are constants, what the result does not need is gone, and normalization
 *   is part of the convolution before it. A framework that runs operator by operator computes everything as it is written.
 */
export function cellNetwork(edges: readonly string[], compiled: boolean): GraphFile {
  const net = new NetworkBuilder('cell', [1, 3, 32, 32]);
  // Where no path leads through a cell a compiler is left with a constant.
  if (compiled && !isConnected(edges)) return net.finish(net.flatten(net.input));
  let x = layer(net, net.input, 16, 3, 1, compiled);
  for (const [stage, channels] of [16, 32, 64].entries()) {
    if (stage > 0) x = residual(net, x, channels, compiled);
    for (let repeat = 0; repeat < 5; repeat++) x = cell(net, x, edges, compiled);
  }
  return net.finish(net.linear(net.globalAveragePool(net.activate(x, 'Relu')), 10));
}

/** A convolution and its normalization. */
function layer(
  net: NetworkBuilder,
  x: Tensor,
  channels: number,
  kernel: number,
  stride: number,
  compiled: boolean,
): Tensor {
  const y = net.conv(x, channels, kernel, { stride, activation: null });
  return compiled ? y : net.scale(y, 1);
}

function residual(net: NetworkBuilder, x: Tensor, channels: number, compiled: boolean): Tensor {
  const first = layer(net, net.activate(x, 'Relu'), channels, 3, 2, compiled);
  const inner = layer(net, net.activate(first, 'Relu'), channels, 3, 1, compiled);
  return net.sum(inner, net.conv(net.averagePool(x, 2, { stride: 2 }), channels, 1, { activation: null }));
}

function cell(net: NetworkBuilder, input: Tensor, edges: readonly string[], compiled: boolean): Tensor {
  const useful = compiled ? usefulEdges(edges) : new Set(EDGES.keys());
  const nodes: (Tensor | null)[] = [input, null, null, null];
  for (const [index, [from, to]] of EDGES.entries()) {
    if (!useful.has(index)) continue;
    const source = nodes[from] ?? net.zeros(input.shape);
    const result = operation(net, source, edges[index]!, compiled);
    const sum = nodes[to];
    nodes[to] = sum ? net.sum(sum, result) : result;
  }
  return nodes[3]!;
}

function operation(net: NetworkBuilder, x: Tensor, name: string, compiled: boolean): Tensor {
  const channels = x.shape[1]!;
  switch (name) {
    case 'nor_conv_3x3':
    case 'nor_conv_1x1':
      return layer(net, net.activate(x, 'Relu'), channels, name === 'nor_conv_3x3' ? 3 : 1, 1, compiled);
    case 'avg_pool_3x3':
      return net.averagePool(x, 3);
    case 'none':
      return net.scale(x, 0);
    default:
      return x;
  }
}

/** Edges that the result needs: those that lead to the output without a zero on the way. */
function usefulEdges(edges: readonly string[]): Set<number> {
  const leads = new Set([3]);
  const useful = new Set<number>();
  for (const [index, [from, to]] of [...EDGES.entries()].reverse()) {
    if (edges[index] === 'none' || !leads.has(to)) continue;
    leads.add(from);
    useful.add(index);
  }
  return useful;
}

/** Whether a path without a zero leads from the input of a cell to its output. */
function isConnected(edges: readonly string[]): boolean {
  const reached = new Set([0]);
  for (const [index, [from, to]] of EDGES.entries())
    if (edges[index] !== 'none' && reached.has(from)) reached.add(to);
  return reached.has(3);
}
