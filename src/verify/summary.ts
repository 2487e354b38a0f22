import { toNumber } from '../config/common.js';
import type { OutputComparison, Verification } from '../config/verification.js';
import { mainScores, scoreText } from './score.js';

/** A comparison in a few lines of text: task metric, distance at each output, how it was evaluated. */
export function summarizeVerification({ task, outputs, evaluator, samples, warnings }: Verification): string {
  const lines: [string, string][] = [];
  for (const score of mainScores(task?.scores ?? [])) lines.push([score.name, scoreText(score)]);
  for (const output of outputs) {
    const cosine = toNumber(output.similarity.cosine).toFixed(5);
    lines.push([`output ${output.name}`, `${distanceText(output)}, cosine ${cosine}`]);
  }
  const { name, version, optimization } = evaluator;
  lines.push(['evaluated', `${samples} samples, ${name} ${version}, optimizations ${optimization}`]);
  for (const warning of warnings) lines.push(['warning', warning]);
  const width = Math.max(...lines.map(([key]) => key.length));
  return lines.map(([key, value]) => `${key.padEnd(width)}  ${value}`).join('\n');
}

/** How far an output is from the float model's: noise, and decisions that are the same, with their standard errors. */
export function distanceText({ similarity, sqnrStandardError, agreement }: OutputComparison): string {
  const error = (value: number | null, digits: number): string =>
    value === null ? '' : ` ± ${value.toFixed(digits)}`;
  const noise = `SQNR ${toNumber(similarity.sqnr).toFixed(2)}${error(sqnrStandardError, 2)} dB`;
  if (!agreement) return noise;
  const { share, standardError, over } = agreement;
  const spread = error(standardError === null ? null : 100 * standardError, 2);
  return `${noise}, same decision in ${(100 * share).toFixed(2)}${spread} % of ${over}`;
}
