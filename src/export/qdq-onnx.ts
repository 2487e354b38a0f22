import type { Exported, ExportSource } from './formats.js';

/** The run's own model: QuantizeLinear and DequantizeLinear around float operators, as onnxruntime runs it. */
export function qdqOnnx({ run }: ExportSource): Exported {
  return { kind: 'copy', from: run.quantized.path, warnings: [] };
}
