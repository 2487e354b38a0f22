import type { GraphNode } from '../config/graph.js';
import type { Plan } from '../config/plan.js';
import { Bug, UserError } from '../errors.js';
import { SafetensorsFile } from '../graph/safetensors.js';
import { channelView } from '../quantize/algorithms/channel-view.js';
import { collectLayers, type Layer } from '../quantize/layers.js';
import type { RunFiles } from './run-files.js';

/** Parameters of a quantized activation as the run wrote them; one entry, or one a channel along `axis`. */
export interface Activation {
  tensor: string;
  bits: 8 | 16;
  signed: boolean;
  axis: number | null;
  scales: Float32Array;
  zeroPoints: number[];
}

/** A layer with weights as the run quantized it. */
export interface ExportLayer {
  layer: Layer;
  node: GraphNode;
  /** In the shape of the initializer. */
  integers: Int8Array;
  /** One a channel along `layer.plan.axis`, or one. */
  scales: Float32Array;
  /** int32 at s_x·s_w with its scales (one an output channel, or one); null for a float bias or none. */
  bias: { integers: Int32Array; scales: Float32Array } | null;
  /** Bias of a layer whose input is not quantized. */
  floatBias: Float32Array | null;
  /** What the layer reads; null when that is not quantized. */
  input: Activation | null;
}

/** A run's numbers, ready to be written in some format. */
export interface QuantizedNetwork {
  layers: ExportLayer[];
  /** By tensor, in graph order. */
  activations: Map<string, Activation>;
  /** Nodes that read the rounded value of a quantized tensor. */
  integerNodes: ReadonlySet<string>;
}

/** Reads integers and scales of a run from what its apply stage wrote. */
export function readNetwork(
  run: Pick<RunFiles, 'graph' | 'plan' | 'parameters' | 'weights'>,
): QuantizedNetwork {
  const { graph, plan } = run;
  const file = SafetensorsFile.open(run.parameters);
  const activations = new Map(
    plan.activations.map(({ tensor, format, channelAxis }) => {
      const scales = file.float32(`${tensor}/scale`).data;
      const zeroPoints = Array.from(tensorOf(file, `${tensor}/zero_point`).data as Uint8Array, Number);
      const axis = scales.length > 1 ? channelAxis : null;
      const { bits, signed } = format;
      return [tensor, { tensor, bits, signed, axis, scales, zeroPoints }] as const;
    }),
  );
  const integerNodes = integerReaders(plan);
  const layers = collectLayers(graph.file, plan, SafetensorsFile.open(run.weights)).map((layer) => {
    const { name } = layer;
    const integers = tensorOf(file, `${name}/weight/quantized`).data;
    if (!(integers instanceof Int8Array)) throw new Bug(`the weight of ${name} is not int8`);
    const bias = file.get(`${name}/bias/quantized`)?.data;
    return {
      layer,
      node: graph.node(name)!,
      integers,
      scales: file.float32(`${name}/weight/scale`).data,
      bias:
        bias instanceof Int32Array
          ? { integers: bias, scales: file.float32(`${name}/bias/scale`).data }
          : null,
      floatBias: file.has(`${name}/bias`) ? file.float32(`${name}/bias`).data : null,
      input: integerNodes.has(name) ? (activations.get(layer.input) ?? null) : null,
    };
  });
  return { layers, activations, integerNodes };
}

/** As in src/quantize/apply.ts: every node where tensors are stored as integers, else those of integer groups. */
function integerReaders(plan: Plan): Set<string> {
  const groups = plan.storage === 'integer' ? plan.groups : plan.groups.filter((group) => group.quantized);
  return new Set(groups.flatMap((group) => group.nodes));
}

function tensorOf(file: SafetensorsFile, name: string) {
  const tensor = file.get(name);
  if (tensor) return tensor;
  throw new UserError('RUN_DAMAGED', `${file.path} holds no tensor called ${name}.`, {
    place: file.path,
    suggestions: ['Repeat the command of the run with --resume.'],
  });
}

/** integers · scale in float32, exactly what DequantizeLinear computes; `axis` null: one scale. */
export function dequantize(
  integers: Int8Array | Int32Array,
  scales: Float32Array,
  shape: readonly number[],
  axis: number | null,
): Float32Array {
  const { inner } = channelView([...shape], axis);
  const channels = scales.length;
  return Float32Array.from(
    integers,
    (q, i) => Math.fround(q) * scales[channels === 1 ? 0 : Math.floor(i / inner) % channels]!,
  );
}

/** Whether one scale serves the whole tensor. */
export const isPerTensor = ({ scales }: Activation): boolean => scales.length === 1;

/** A matrix transposed: [rows, columns] to [columns, rows]. */
export function transpose(values: Int8Array, [rows, columns]: readonly [number, number]): Int8Array {
  return Int8Array.from(
    { length: values.length },
    (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!,
  );
}
