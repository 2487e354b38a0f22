import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { plan } from '../../test/helpers/plan.js';
import type { Group, Plan } from '../config/plan.js';
import type { Graph } from '../graph/graph.js';
import { valueTensors } from './plan/integer-groups.js';

/** One step of a random network: which operator, and which of the tensors so far it reads. */
interface Step {
  op: (typeof OPERATORS)[number];
  reads: [number, number];
}

const OPERATORS = [
  ...(['Conv', 'Depthwise', 'BatchNorm', 'MatMul', 'Product', 'Relu', 'Clip', 'Sigmoid', 'SiLU'] as const),
  ...(['Add', 'Mul', 'Gain', 'Concat', 'MaxPool', 'AveragePool', 'Resize', 'Upsample', 'Transpose'] as const),
  ...(['Split', 'Pad', 'Softmax', 'LayerNorm', 'Exp', 'TopK', 'Unknown', 'If'] as const),
];

const networks = fc.record({
  steps: fc.array(
    fc.record({
      op: fc.constantFrom(...OPERATORS),
      reads: fc.tuple(fc.nat(), fc.nat()),
    }) as fc.Arbitrary<Step>,
    { minLength: 1, maxLength: 40 },
  ),
  /** A tensor that is a graph output beside the last one. */
  output: fc.nat(),
  target: fc.constantFrom('generic-npu', 'kirin9020'),
});

type Network = typeof networks extends fc.Arbitrary<infer T> ? T : never;

function build({ steps, output }: Network): Graph {
  const b = new GraphBuilder();
  const tensors = [b.input('x')];
  // Mostly recent tensors, so that networks get deep.
  const pick = (seed: number): string => tensors[tensors.length - 1 - (seed % Math.min(4, tensors.length))]!;
  for (const { op, reads } of steps) tensors.push(...apply(b, op, pick(reads[0]), pick(reads[1])));
  return b.build([...new Set([tensors.at(-1)!, tensors[1 + (output % (tensors.length - 1))]!])]);
}

function apply(b: GraphBuilder, op: Step['op'], x: string, y: string): string[] {
  switch (op) {
    case 'Conv':
      return [b.conv(x, { bias: true })];
    case 'Depthwise':
      return [b.conv(x, { group: 4 })];
    case 'BatchNorm':
      return [b.batchNorm(x)];
    case 'MatMul':
      return [b.matMul(x)];
    case 'Product':
      return [b.node('MatMul', [x, y])];
    case 'Clip':
      return [b.node('Clip', [x, b.scalar(0), b.scalar(6)])];
    case 'SiLU':
      return [b.node('Mul', [x, b.node('Sigmoid', [x])])];
    case 'Gain':
      return [b.node('Mul', [x, b.scalar(3)])];
    case 'Add':
    case 'Mul':
    case 'Concat':
      return [b.node(op, [x, y])];
    case 'Resize':
      return [b.node('Resize', [x], { mode: 'linear' })];
    case 'Upsample':
      return [b.node('Resize', [x], { mode: 'nearest' })];
    case 'Split':
      return b.split(op, [x], 2);
    case 'Pad':
      return [b.node(op, [x, b.integers(0, 1)])];
    case 'LayerNorm':
      return [b.layerNorm(x)];
    case 'TopK':
      return b.split(op, [x, b.integers(3)], 1);
    case 'Unknown':
      return [b.node('Unknown', [x, y], {}, { domain: 'com.example' })];
    case 'If':
      return [b.node(op, [x], {}, { captures: [y] })];
    default:
      return [b.node(op, [x])];
  }
}

/** Checks a property of the plans of random networks. */
function holds(check: (graph: Graph, result: Plan, target: string) => void): void {
  fc.assert(
    fc.property(networks, (network) => {
      const graph = build(network);
      check(graph, plan(graph, { target: network.target }), network.target);
    }),
    { numRuns: 300 },
  );
}

const isLayer = ({ kind }: Group): boolean => ['conv', 'matmul'].includes(kind);

describe('plans of random networks', () => {
  it('every node is in exactly one group, and either quantized or listed as float', () =>
    holds((graph, { groups, floatNodes }) => {
      const nodes = graph.nodes.map((node) => node.name).sort();
      expect(groups.flatMap((group) => group.nodes).sort()).toEqual(nodes);
      const quantized = groups.filter((group) => group.quantized).flatMap((group) => group.nodes);
      expect([...quantized, ...floatNodes.map(({ node }) => node)].sort()).toEqual(nodes);
    }));

  it('what an integer group computes with has exactly one quantizer, but for the layer that makes a sum', () =>
    holds((graph, { groups, activations }, target) => {
      const tensors = activations.map(({ tensor }) => tensor);
      expect(new Set(tensors).size).toBe(tensors.length);
      for (const group of groups.filter(({ quantized }) => quantized)) {
        const without = valueTensors(graph, group).filter((tensor) => !tensors.includes(tensor));
        const makesSum = target === 'generic-npu' && group.kind === 'add';
        expect(without.length).toBeLessThanOrEqual(makesSum ? 1 : 0);
        for (const tensor of without) {
          const layer = groups.find(({ output }) => output === tensor)!;
          expect(isLayer(layer) && layer.quantized && layer.activation).toBe(null);
          expect(graph.readers(tensor)).toHaveLength(1);
        }
      }
    }));

  it('every quantizer is asked for by an integer group', () =>
    holds((graph, { groups, activations }) => {
      const asked = new Set(groups.flatMap((group) => (group.quantized ? valueTensors(graph, group) : [])));
      for (const { tensor } of activations) expect(asked).toContain(tensor);
    }));

  it('layers run in integers, with their constant weights', () =>
    holds((graph, { groups, weights }) => {
      const layers = groups.filter(isLayer);
      expect(layers.every((group) => group.quantized)).toBe(true);
      const constant = layers.filter(({ name }) => graph.isConstant(graph.node(name)!.inputs[1]!));
      expect(weights.map(({ node }) => node)).toEqual(constant.map(({ name }) => name));
    }));

  it('nothing inside a group is read outside, and no quantizer sits there', () =>
    holds((graph, { groups, activations }) => {
      const quantizers = new Set(activations.map(({ tensor }) => tensor));
      for (const { nodes } of groups) {
        const inner = nodes.slice(0, -1).flatMap((name) => graph.node(name)!.outputs);
        for (const tensor of inner) {
          expect(quantizers).not.toContain(tensor);
          expect(graph.isReadOutside(tensor, new Set(nodes))).toBe(false);
        }
      }
    }));

  it('shared parameters end in a tensor with a range, within the operators that only move values', () =>
    holds((_, { activations, groups }) => {
      const rules = new Map(activations.map(({ tensor, range }) => [tensor, range]));
      const byName = new Map(groups.map((group) => [group.name, group]));
      for (const { tensor, producer } of activations) {
        let rule = rules.get(tensor)!;
        for (let steps = 0; rule.kind === 'shared'; steps++) {
          expect(steps).toBeLessThan(activations.length);
          rule = rules.get(rule.with)!;
          expect(rule).toBeDefined();
        }
        if (rules.get(tensor)!.kind !== 'shared') continue;
        const { kind, activation } = byName.get(producer!)!;
        expect(kind === 'pass-through' || kind === 'concat' || activation === 'Relu').toBe(true);
      }
    }));

  it('folds go into quantized layers and end at a batch normalization of the same group', () =>
    holds((graph, { folds, groups }) => {
      for (const { into, batchNorm } of folds) {
        const group = groups.find(({ name }) => name === into)!;
        expect(group.quantized && group.nodes[1]).toBe(batchNorm);
        expect(graph.node(batchNorm)!.op).toBe('BatchNormalization');
      }
    }));

  it('postprocessing leads to more of it, to operators unknown, or into a search', () =>
    holds((graph, { floatNodes }) => {
      const causes = new Map(floatNodes.map(({ node, cause }) => [node, cause]));
      for (const { node, cause } of floatNodes) {
        if (cause !== 'postprocessing') continue;
        const next = graph.node(node)!.outputs.flatMap((output) => graph.readers(output));
        for (const { node: reader } of next)
          expect(
            reader.op === 'TopK' || ['postprocessing', 'unsupported'].includes(causes.get(reader.name)!),
          ).toBe(true);
      }
    }));

  it('an excluded layer has no weights, and asks for nothing', () => {
    fc.assert(
      fc.property(networks, fc.nat(), (network, seed) => {
        const graph = build(network);
        // Where layers make sums, the other term of one gets a quantizer when its layer is taken out.
        const target = 'hexagon-generic';
        const { weights } = plan(graph, { target });
        if (weights.length === 0) return;
        const { node } = weights[seed % weights.length]!;
        const without = plan(graph, { target, exclude: [node] });
        expect(without.weights.map((weight) => weight.node)).not.toContain(node);
        expect(without.activations.length).toBeLessThanOrEqual(plan(graph, { target }).activations.length);
      }),
      { numRuns: 300 },
    );
  });

  it('is the same every time, and leaves the graph alone', () =>
    holds((graph, result, target) => {
      const before = JSON.stringify(graph.file);
      expect(plan(graph, { target })).toEqual(result);
      expect(JSON.stringify(graph.file)).toBe(before);
    }));
});
