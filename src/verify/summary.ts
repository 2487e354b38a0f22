import { toNumber } from '../config/common.js';
import type { Verification } from '../config/verification.js';

/** A comparison in a few lines of text: task metric, distance at each output, how it was evaluated. */
export function summarizeVerification({ task, outputs, evaluator, samples, warnings }: Verification): string {
  const lines: [string, string][] = [];
  for (const { name, float, quantized, interval } of task?.scores ?? []) {
    const before = float === null ? '' : `${float.toFixed(2)} -> `;
    const range = interval ? `, difference ${interval.map((end) => end.toFixed(2)).join(' to ')} (95 %)` : '';
    lines.push([name, `${before}${quantized.toFixed(2)} %${range}`]);
  }
  for (const { name, similarity, agreement } of outputs) {
    const decisions = agreement
      ? `, same decision in ${(100 * agreement.share).toFixed(2)} % of ${agreement.over}`
      : '';
    const cosine = toNumber(similarity.cosine).toFixed(5);
    lines.push([
      `output ${name}`,
      `SQNR ${toNumber(similarity.sqnr).toFixed(2)} dB, cosine ${cosine}${decisions}`,
    ]);
  }
  const { name, version, optimization } = evaluator;
  lines.push(['evaluated', `${samples} samples, ${name} ${version}, optimizations ${optimization}`]);
  for (const warning of warnings) lines.push(['warning', warning]);
  const width = Math.max(...lines.map(([key]) => key.length));
  return lines.map(([key, value]) => `${key.padEnd(width)}  ${value}`).join('\n');
}
