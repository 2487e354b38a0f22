import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MaterializedSample } from '../src/verify/tensors.js';

/** Wire-format helpers of Protocol Buffers: just enough of onnx.proto for models of a few nodes in tests. */
const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
const int = (field: number, value: number): number[] => [field << 3, ...varint(value)];
const bytes = (field: number, body: ArrayLike<number>): number[] => [
  (field << 3) | 2,
  ...varint(body.length),
  ...Array.from(body),
];
const text = (field: number, value: string): number[] => bytes(field, Buffer.from(value));

export interface TinyNode {
  op: string;
  inputs: string[];
  output: string;
}

export interface TinyModel {
  nodes: TinyNode[];
  /** float32 constants. */
  constants: Record<string, { shape: number[]; data: number[] }>;
  input: { name: string; shape: number[] };
  outputs: { name: string; shape: number[] }[];
}

/** A float32 ONNX model (opset 13, IR 8) as bytes. */
export function tinyModel({ nodes, constants, input, outputs }: TinyModel): Uint8Array {
  const value = ({ name, shape }: { name: string; shape: number[] }): number[] => {
    const dims = shape.flatMap((size) => bytes(1, int(1, size)));
    return [...text(1, name), ...bytes(2, bytes(1, [...int(1, 1), ...bytes(2, dims)]))];
  };
  const graph = [
    ...nodes.flatMap(({ op, inputs, output }) =>
      bytes(1, [...inputs.flatMap((name) => text(1, name)), ...text(2, output), ...text(4, op)]),
    ),
    ...text(2, 'tiny'),
    ...Object.entries(constants).flatMap(([name, { shape, data }]) =>
      bytes(5, [
        ...shape.flatMap((size) => int(1, size)),
        ...int(2, 1),
        ...text(8, name),
        ...bytes(9, new Uint8Array(Float32Array.from(data).buffer)),
      ]),
    ),
    ...bytes(11, value(input)),
    ...outputs.flatMap((output) => bytes(12, value(output))),
  ];
  return Uint8Array.from([...int(1, 8), ...bytes(7, graph), ...bytes(8, int(2, 13))]);
}

/** Writes samples of one float32 input as `materialize` does. */
export async function writeSamples(
  folder: string,
  input: { name: string; shape: number[] },
  rows: readonly (readonly number[])[],
): Promise<MaterializedSample[]> {
  return Promise.all(
    rows.map(async (row, i) => {
      const path = join(folder, `${i}.raw`);
      await writeFile(path, new Uint8Array(Float32Array.from(row).buffer));
      return {
        name: `sample-${i}.png`,
        originalSize: null,
        tensors: { [input.name]: { path, dtype: 'float32', shape: input.shape } },
      };
    }),
  );
}
