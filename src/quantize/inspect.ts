import type { GraphValue } from '../config/graph.js';
import type { FloatNode } from '../config/plan.js';
import { type CaptureGraphOptions, captureGraph } from '../doors/captured-graph.js';
import type { Strategy } from './options.js';
import { planQuantization } from './plan.js';

export interface InspectOptions extends CaptureGraphOptions {
  target: string;
  strategy: Strategy;
  exclude: string[];
  /** Patterns of tensors that carry 16 bits. */
  int16: string[];
}

export interface Inspection {
  opset: { from: number; to: number };
  inputs: GraphValue[];
  outputs: GraphValue[];
  /** Elements of all float initializers. */
  parameters: number;
  /** Operators of the normalized graph, most frequent first. */
  operators: { op: string; count: number }[];
  notes: string[];
  target: string;
  layers: number;
  quantizers: number;
  /** Tensors with quantizers, as --int16 and --exclude take them. */
  tensors: { name: string; bits: number }[];
  floatNodes: FloatNode[];
}

/** Captures a model into a temporary folder and plans its quantization without any data. */
export async function inspectModel(options: InspectOptions): Promise<Inspection> {
  const { target, strategy, exclude, int16 } = options;
  const { graph, opset, notes } = await captureGraph(options);
  const { file } = graph;
  const plan = planQuantization(graph, {
    strategy,
    target,
    exclude,
    strict: false,
    precision: { int16, float: [] },
  });
  const counts = new Map<string, number>();
  for (const { op } of file.nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
  return {
    opset,
    inputs: file.inputs,
    outputs: file.outputs,
    parameters: file.initializers
      .filter(({ dtype }) => dtype === 'float32')
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    operators: [...counts]
      .map(([op, count]) => ({ op, count }))
      .sort((a, b) => b.count - a.count || (a.op < b.op ? -1 : 1)),
    notes,
    target,
    layers: plan.weights.length,
    quantizers: plan.activations.length,
    tensors: plan.activations.map(({ tensor, format }) => ({ name: tensor, bits: format.bits })),
    floatNodes: plan.floatNodes,
  };
}

/** An inspection as text. */
export function describe(inspection: Inspection): string {
  const value = ({ name, dtype, shape }: GraphValue): string =>
    `  ${name}: ${dtype} [${shape?.join(', ') ?? '?'}]`;
  const { opset, parameters, operators, floatNodes, tensors } = inspection;
  const wide = tensors.filter(({ bits }) => bits === 16).length;
  const reasons = new Map<string, FloatNode[]>();
  for (const node of floatNodes) reasons.set(node.reason, [...(reasons.get(node.reason) ?? []), node]);
  return [
    'inputs',
    ...inspection.inputs.map(value),
    'outputs',
    ...inspection.outputs.map(value),
    `opset ${opset.from}${opset.from === opset.to ? '' : `, read as ${opset.to}`}, ${(parameters / 1e6).toFixed(2)} million parameters`,
    `operators: ${operators.map(({ op, count }) => `${op} ${count}`).join(', ')}`,
    ...inspection.notes.map((note) => `note: ${note}`),
    `on ${inspection.target}: ${inspection.layers} layers and ${inspection.quantizers} activations quantized${wide > 0 ? ` (${wide} int16)` : ''}, ${floatNodes.length} operators in float`,
    ...[...reasons].map(([reason, nodes]) => {
      const names = nodes.slice(0, 4).map(({ node, op }) => `${node} (${op})`);
      return `  ${nodes.length} ${reason}: ${names.join(', ')}${nodes.length > 4 ? ', …' : ''}`;
    }),
  ].join('\n');
}
