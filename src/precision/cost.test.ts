import { describe, expect, it } from 'vitest';
import { plan } from '../../test/helpers/plan.js';
import type { GraphFile } from '../config/graph.js';
import { Graph } from '../graph/graph.js';
import { CostModel } from '../target/cost-model.js';
import { loadTarget } from '../target/target-files.js';
import { NetworkBuilder } from '../target/zoo/builder.js';
import { planCost, predictedCost } from './cost.js';

/** Two convolutions, the first of which may stay in float, and a softmax that always does. */
function network(): Graph {
  const net = new NetworkBuilder('n', [1, 32, 32, 32]);
  const x = net.conv(net.conv(net.input, 64, 3), 64, 3);
  return new Graph(net.finish(net.softmax(net.linear(net.globalAveragePool(x), 10))));
}

/** The same with a name in the place of the batch, or nothing. */
function open(graph: Graph, batch: string | null): Graph {
  const change = <T extends { shape: GraphFile['inputs'][number]['shape'] }>(value: T): T => ({
    ...value,
    shape: value.shape && [batch, ...value.shape.slice(1)],
  });
  const { file } = graph;
  return new Graph({
    ...file,
    inputs: file.inputs.map(change),
    outputs: file.outputs.map(change),
    tensors: Object.fromEntries(Object.entries(file.tensors).map(([name, type]) => [name, change(type)])),
  });
}

describe('the cost of a plan', () => {
  it('is that of the cost model, layer by layer', () => {
    const graph = network();
    const cost = planCost(graph, 'kirin9000');
    expect(cost.unit).toBe('seconds');
    const model = new CostModel(loadTarget('kirin9000'));
    const float = model.predict(model.lower(graph), { rest: 'fp16' }).seconds;
    const narrow = cost.of(plan(graph, { target: 'kirin9000' }));
    const some = cost.of(plan(graph, { target: 'kirin9000', exclude: ['conv_1'] }));
    expect(narrow).toBeLessThan(some);
    expect(some).toBeLessThan(float);
  });

  it('is known for an integer device, where what is not quantized takes its widest integers', () => {
    const graph = network();
    const cost = planCost(graph, 'ethos-u55-128');
    const of = (exclude: string[]): number => cost.of(plan(graph, { target: 'ethos-u55-128', exclude }));
    expect(of(['conv_1'])).toBeGreaterThan(of([]));
  });

  it('is relative where sizes are not known, and that of one sample where the batch has a name', () => {
    const graph = network();
    const options = plan(graph, { target: 'kirin9000' });
    expect(planCost(open(graph, null), 'kirin9000').unit).toBe('relative');
    expect(planCost(open(graph, 'N'), 'kirin9000').of(options)).toBe(
      planCost(graph, 'kirin9000').of(options),
    );
  });
});

describe('what is predicted of a quantized model', () => {
  it('is the time in float and as planned, each in its range', () => {
    const graph = network();
    const predicted = predictedCost(graph, plan(graph, { target: 'kirin9000' }), 'kirin9000')!;
    expect(predicted).toMatchObject({
      target: 'kirin9000',
      float: { precision: 'fp16', measured: 16 },
      quantized: { precision: 'int8', measured: 17 },
    });
    const { float, quantized } = predicted;
    expect(quantized.seconds).toBeLessThan(float!.seconds);
    expect(quantized.energy).toBeLessThan(float!.energy);
    for (const { seconds, interval } of [float!, quantized]) {
      expect(interval[0]).toBeLessThan(seconds);
      expect(interval[1]).toBeGreaterThan(seconds);
    }
  });

  it('has no float time on a device without floating point, and is nothing without sizes', () => {
    const graph = network();
    const integers = plan(graph, { target: 'ethos-u55-128' });
    expect(predictedCost(graph, integers, 'ethos-u55-128')!.float).toBeNull();
    expect(predictedCost(open(graph, null), integers, 'ethos-u55-128')).toBeNull();
  });
});
