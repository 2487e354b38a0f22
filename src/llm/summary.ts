import { join } from 'node:path';
import type { LlmResult } from '../config/llm-result.js';
import { bytes, percent, seconds, significant } from '../report/format.js';

/** The end of a run in a few lines. Pure. */
export function summarizeLlm(result: LlmResult, out: string): string {
  const { coverage, score, memory, activations, exports, linears } = result;
  const fallbacks = linears.filter(({ fallback }) => fallback !== null).length;
  return [
    `\n${result.model.name}: ${bytes(coverage.floatBytes)} to ${bytes(coverage.bytes)}, ${coverage.meanBits.toFixed(3)} bits a decoder weight, ${percent(coverage.covered, 2)} covered`,
    ...(score
      ? [
          `perplexity ${significant(score.float.perplexity, 5)} to ${significant(score.quantized.perplexity, 5)}, KL ${significant(score.quantized.kl, 3)}, same first choice ${percent(score.quantized.agreement)}`,
        ]
      : []),
    ...(activations
      ? [
          `${activations.tensors} activations of ${activations.bits} bits${activations.lowest[0] ? `; least signal over noise ${activations.lowest[0].sqnr.toFixed(1)} dB at ${activations.lowest[0].name}` : ''}`,
        ]
      : []),
    ...(fallbacks > 0
      ? [`${fallbacks} layers were solved by less than what was asked for: see the report`]
      : []),
    `${seconds(result.seconds)}, peak memory ${bytes(memory.peak)} of ${bytes(memory.promised)} promised`,
    ...exports.map(({ format, folder }) => `${format}: ${join(out, folder)}`),
    join(out, 'report.html'),
  ].join('\n');
}
