import type { GraphFile, GraphValue } from '../config/graph.js';

/** A dimension; null where it is not fixed. */
export type Dim = number | null;

/** The picture that a network takes. */
export interface Picture {
  channels: 1 | 3;
  /** Height and width. */
  size: [Dim, Dim];
  layout: 'nchw' | 'nhwc';
}

/** What can be seen of a network without running it. */
export interface Looks {
  /** File name without folder. */
  file: string;
  inputs: { name: string; dtype: string; shape: Dim[] }[];
  outputs: { name: string; shape: Dim[] }[];
  /** How often each operator occurs. */
  operators: ReadonlyMap<string, number>;
  /** Convolutions with as many groups as channels. */
  depthwise: number;
  /** The picture, where its one input is one. */
  picture: Picture | null;
}

const dims = ({ shape }: GraphValue): Dim[] =>
  (shape ?? []).map((dim) => (typeof dim === 'number' ? dim : null));

export function looksOf(file: string, graph: GraphFile): Looks {
  const operators = new Map<string, number>();
  for (const { op } of graph.nodes) operators.set(op, (operators.get(op) ?? 0) + 1);
  const inputs = graph.inputs.map((value) => ({ name: value.name, dtype: value.dtype, shape: dims(value) }));
  return {
    file,
    inputs,
    outputs: graph.outputs.map((value) => ({ name: value.name, shape: dims(value) })),
    operators,
    depthwise: graph.nodes.filter(({ op, attributes }) => op === 'Conv' && Number(attributes.group ?? 1) > 1)
      .length,
    picture: inputs.length === 1 ? pictureOf(inputs[0]!) : null,
  };
}

function pictureOf({ dtype, shape }: Looks['inputs'][number]): Picture | null {
  if (shape.length !== 4 || !/^(float|uint8)/.test(dtype)) return null;
  const [, second, third, last] = shape as [Dim, Dim, Dim, Dim];
  const isColour = (dim: Dim): dim is 1 | 3 => dim === 1 || dim === 3;
  // Maps of a few features (MFCC) are no pictures.
  const large = (dim: Dim): boolean => dim === null || dim >= 16;
  if (isColour(second) && large(third) && large(last))
    return { channels: second, size: [third, last], layout: 'nchw' };
  if (isColour(last) && large(second) && large(third))
    return { channels: last, size: [second, third], layout: 'nhwc' };
  return null;
}

/** A shape as people write it. */
export const shapeText = (shape: readonly Dim[]): string => `[${shape.map((dim) => dim ?? '?').join(', ')}]`;
