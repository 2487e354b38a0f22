import { join } from 'node:path';
import { toNumber } from '../config/common.js';
import type { PredictedCost } from '../config/cost.js';
import type { RunResult } from '../config/result.js';
import { milliseconds, plural, timesSmaller } from '../report/format.js';
import { settingsText } from '../report/tuning-section.js';
import { mainScores, scoreText } from '../verify/score.js';
import { distanceText } from '../verify/summary.js';

const kilobytes = (bytes: number): string =>
  bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;

/** A finished run in a few lines: accuracy before and after, distance, size, where things are. */
export function summarize(result: RunResult, out: string): string {
  const { verification, sizes, quantization } = result;
  const lines: [string, string][] = [];
  for (const score of mainScores(verification?.task?.scores ?? [])) {
    lines.push([score.name, scoreText(score)]);
  }
  for (const output of verification?.outputs ?? []) {
    lines.push([`output ${output.name}`, distanceText(output)]);
  }
  const { door, precision, tuning } = result;
  if (precision) {
    const { tries, chosen, reached } = precision;
    const { int16, float } = tries[chosen]!;
    const wide = [...int16.map((name) => `${name} int16`), ...float.map((name) => `${name} float`)];
    lines.push([
      'precision',
      `goal ${reached ? 'reached' : 'not reached'} after ${tries.length} tries: ${wide.join(', ') || 'nothing wider'}`,
    ]);
  }
  if (tuning) {
    const { tries, chosen } = tuning;
    const gain = toNumber(tries[chosen]!.sqnr) - toNumber(tries[0]!.sqnr);
    const tried = `best of ${tries.length} tries, ${gain >= 0 ? '+' : ''}${gain.toFixed(1)} dB on the samples that decided`;
    lines.push(['settings', `${settingsText(tries[chosen]!.settings)}: ${tried}`]);
  }
  for (const { name, agreement, similarity } of door?.check?.againstOnnx ?? []) {
    const decisions = agreement ? `, same decision ${(100 * agreement.share).toFixed(1)} %` : '';
    lines.push([
      `${door!.framework} against ONNX`,
      `${name}: ${toNumber(similarity.sqnr).toFixed(1)} dB${decisions}`,
    ]);
  }
  const change = timesSmaller(sizes.float, sizes.quantized);
  lines.push(['size', `${kilobytes(sizes.float)} -> ${kilobytes(sizes.quantized)} (${change})`]);
  if (result.predicted) lines.push(['predicted', predictedText(result.predicted)]);
  const wide = quantization.int16 > 0 ? `, ${quantization.int16} of them int16` : '';
  lines.push(['quantized', `${quantization.weights} layers, ${quantization.activations} activations${wide}`]);
  const left = quantization.floatNodes.filter((node) => node.cause !== 'shape').length;
  for (const file of Object.keys(result.files))
    lines.push([file.endsWith('.html') ? 'report' : '', join(out, file)]);
  lines.push([
    'time',
    `${result.seconds.toFixed(1)} s, ${result.peakBytes ? kilobytes(result.peakBytes) : '?'} at most`,
  ]);
  lines.push(['left in float', plural(left, 'operator')]);
  const width = Math.max(...lines.map(([key]) => key.length));
  return lines.map(([key, value]) => `${key.padEnd(width)}  ${value}`).join('\n');
}

/** Latency on the target, float before quantized, with the range that 90 % of such predictions lie in. */
function predictedText({ target, float, quantized }: PredictedCost): string {
  const before = float ? `${milliseconds(float.seconds)} ms in ${float.precision} -> ` : '';
  const [low, high] = quantized.interval.map(milliseconds);
  return `${before}${milliseconds(quantized.seconds)} ms in ${quantized.precision} (90 % lie in ${low} to ${high}) on ${target}`;
}
