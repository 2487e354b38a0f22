import { join } from 'node:path';
import { toNumber } from '../config/common.js';
import type { RunResult } from '../config/result.js';

const kilobytes = (bytes: number): string =>
  bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;

/** A finished run in a few lines: accuracy before and after, distance, size, where things are. */
export function summarize(result: RunResult, out: string): string {
  const { verification, sizes, quantization } = result;
  const lines: [string, string][] = [];
  for (const { name, float, quantized, interval } of verification?.task?.scores ?? []) {
    const within =
      interval && interval[0] <= 0 && interval[1] >= 0 ? ', within what the choice of samples explains' : '';
    const before = float === null ? '' : `${float.toFixed(2)} -> `;
    lines.push([name, `${before}${quantized.toFixed(2)} %${within}`]);
  }
  for (const { name, similarity, agreement } of verification?.outputs ?? []) {
    const decisions = agreement ? `, same decision ${(100 * agreement.share).toFixed(1)} %` : '';
    lines.push([`output ${name}`, `SQNR ${toNumber(similarity.sqnr).toFixed(1)} dB${decisions}`]);
  }
  const { door } = result;
  for (const { name, agreement, similarity } of door?.check?.againstOnnx ?? []) {
    const decisions = agreement ? `, same decision ${(100 * agreement.share).toFixed(1)} %` : '';
    lines.push([
      `${door!.framework} against ONNX`,
      `${name}: ${toNumber(similarity.sqnr).toFixed(1)} dB${decisions}`,
    ]);
  }
  const factor = (sizes.float / sizes.quantized).toFixed(1);
  lines.push([
    'size',
    `${kilobytes(sizes.float)} -> ${kilobytes(sizes.quantized)} (${factor} times smaller)`,
  ]);
  const wide = quantization.int16 > 0 ? `, ${quantization.int16} of them int16` : '';
  lines.push(['quantized', `${quantization.weights} layers, ${quantization.activations} activations${wide}`]);
  const left = quantization.floatNodes.filter((node) => node.cause !== 'shape').length;
  for (const file of Object.keys(result.files))
    lines.push([file.endsWith('.html') ? 'report' : '', join(out, file)]);
  lines.push([
    'time',
    `${result.seconds.toFixed(1)} s, ${result.peakBytes ? kilobytes(result.peakBytes) : '?'} at most`,
  ]);
  lines.push(['left in float', `${left} operators`]);
  const width = Math.max(...lines.map(([key]) => key.length));
  return lines.map(([key, value]) => `${key.padEnd(width)}  ${value}`).join('\n');
}
