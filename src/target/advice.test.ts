import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import type { Advice } from '../config/cost.js';
import { Graph } from '../graph/graph.js';
import { adviceFor } from './advice.js';
import { CostModel } from './cost-model.js';
import type { Precision } from './precision.js';
import { loadTarget } from './target-files.js';
import { NetworkBuilder } from './zoo/builder.js';
import { ZOO } from './zoo/index.js';

const model = new CostModel(loadTarget('kirin9020'));

function advised(graph: Graph, rest: Precision, one = model): Advice[] {
  const network = one.lower(graph);
  return adviceFor(one, network, { rest }, one.cost(network, { rest }));
}

/** Seconds of a network with a change that was advised. */
const seconds = (graph: Graph, rest: Precision): number =>
  model.predict(model.lower(graph), { rest }).seconds;

describe('what to change', () => {
  it('are channels that leave the matrix unit empty, by what full ones would save', () => {
    const build = (channels: number): Graph => {
      const net = new NetworkBuilder('n', [1, 64, 96, 96]);
      const wide = net.conv(net.input, channels, 3);
      return new Graph(net.finish(net.conv(wide, 64, 3)));
    };
    const [first] = advised(build(33), 'fp16');
    expect(first).toMatchObject({ kind: 'channels' });
    expect(first!.message).toContain('multiples of 16');
    // One channel less fills whole steps: what that saves in both layers is near what is told of them.
    const saved = seconds(build(33), 'fp16') - seconds(build(32), 'fp16');
    const told = advised(build(33), 'fp16').reduce((sum, { gain }) => sum + gain, 0);
    expect(told / saved).toBeGreaterThan(0.7);
    expect(told / saved).toBeLessThan(1.3);
    expect(advised(build(32), 'fp16')).toEqual([]);
  });

  it('are channels that leave blocks empty where the vector unit passes over them', () => {
    const kirin9000 = new CostModel(loadTarget('kirin9000'));
    const build = (channels: number): Graph => {
      const net = new NetworkBuilder('n', [1, channels, 33, 33]);
      return new Graph(net.finish(net.resize(net.input, 513, 513)));
    };
    const [first] = advised(build(21), 'fp16', kirin9000);
    expect(first).toMatchObject({ kind: 'channels', layer: 'resize_1' });
    expect(first!.message).toContain('21 channels are computed as 32');
    const cost = (channels: number): number =>
      kirin9000.predict(kirin9000.lower(build(channels)), { rest: 'fp16' }).seconds;
    expect(first!.gain / (((cost(32) - cost(16)) * 11) / 16)).toBeCloseTo(1, 1);
    expect(advised(build(32), 'fp16', kirin9000)).toEqual([]);
  });

  it('does not ask for more channels of the picture', () => {
    const net = new NetworkBuilder('n', [1, 3, 224, 224]);
    expect(advised(new Graph(net.finish(net.conv(net.input, 64, 7, { stride: 2 }))), 'fp16')).toEqual([]);
  });

  it('are fully connected layers that wait for weights, as long as narrower ones can be had', () => {
    const graph = new Graph(ZOO.vgg16!());
    const [first] = advised(graph, 'fp16');
    expect(first).toMatchObject({ kind: 'weights', layer: 'gemm_1' });
    const layers = new Map([['gemm_1', 'int8' as const]]);
    const narrow = model.predict(model.lower(graph), { rest: 'fp16', layers }).seconds;
    expect(first!.gain).toBeCloseTo(seconds(graph, 'fp16') - narrow, 12);
    const ethos = new CostModel(loadTarget('ethos-u55-128'));
    expect(advised(graph, 'int8', ethos).filter(({ kind }) => kind === 'weights')).toEqual([]);
  });

  it('are movers, operators on the host and functions in kernels of their own', () => {
    const b = new GraphBuilder();
    const x = b.input('x', [1, 32, 64, 64]);
    const moved = b.node('Transpose', [x], { perm: [0, 2, 3, 1] }, { name: 'turn', shape: [1, 64, 64, 32] });
    const [top] = b.split('TopK', [moved], 2, {}, { name: 'best', shape: [1, 64, 64, 8] });
    expect(advised(b.build([top!]), 'int8').map(({ kind, layer }) => [kind, layer])).toEqual([
      ['host', 'best'],
      ['mover', 'turn'],
    ]);
    const hexagon = new CostModel(loadTarget('hexagon-generic'));
    const net = new NetworkBuilder('n', [1, 32, 64, 64]);
    const end = net.conv(net.input, 32, 1, { activation: 'SiLU' });
    expect(advised(new Graph(net.finish(end)), 'int8', hexagon)[0]).toMatchObject({ kind: 'function' });
  });

  it('are five at most, best first', () => {
    const found = advised(new Graph(ZOO['ssd-mobilenet-v2']!()), 'int8');
    expect(found).toHaveLength(5);
    expect(found.map(({ gain }) => gain)).toEqual(found.map(({ gain }) => gain).sort((a, b) => b - a));
  });
});
