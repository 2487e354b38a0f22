import type { Analysis, QuantizerAnalysis } from '../config/analysis.js';
import { type JsonNumber, toNumber } from '../config/common.js';
import { shortened } from '../report/format.js';

/** Longest name in a row; the middle of longer ones is left out. */
const NAME = 48;

/** The quantizers to blame most as a table for a terminal, and what was noticed. */
export function analysisTable(analysis: Analysis, rows: number): string {
  const { outputs, quantizers, findings, data } = analysis;
  const worst = [...quantizers].sort((a, b) => a.rank - b.rank).slice(0, rows);
  const table = [
    ['#', 'quantizer', 'bits', 'share', 'alone', 'at layer', 'up to here', 'what helps'],
    ...worst.map(row),
  ];
  const right = [true, false, true, true, true, true, true, false];
  const widths = right.map((_, column) => Math.max(...table.map((cells) => cells[column]!.length)));
  const lines = table.map((cells) =>
    cells
      .map((cell, column) => (right[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
  const ends = outputs.map(({ name, sqnr }) => `${name} ${decibels(sqnr)}`).join(', ');
  return [
    `everything quantized, on the ${data.samples.length} samples measured: ${ends}`,
    '',
    ...lines,
    ...(quantizers.length > rows ? [`… and ${quantizers.length - rows} more in analysis.json`] : []),
    '',
    'share: of the noise that all quantizers bring, each alone; alone, at layer: signal over noise at the outputs and',
    'behind the layers that read it, with everything else in float; up to here: at the outputs, with everything before it',
    'quantized, too.',
    ...(findings.length > 0 ? ['', ...findings.map((finding) => `- ${finding}`)] : []),
  ].join('\n');
}

function row({ kind, name, bits, rank, share, solo, accumulated, remedies }: QuantizerAnalysis): string[] {
  const [best] = remedies;
  const help = best ? `${best.flag ?? best.note} (−${(100 * best.removes).toFixed(0)} %)` : '';
  return [
    `${rank}`,
    shortened(kind === 'weight' ? `${name} (weight)` : name, NAME),
    `${bits}`,
    `${(100 * share).toFixed(1)} %`,
    decibels(least(solo.outputs)),
    solo.layer === null ? '' : decibels(solo.layer),
    accumulated ? decibels(least(accumulated.outputs)) : '',
    help,
  ];
}

const least = (values: readonly JsonNumber[]): number => Math.min(...values.map(toNumber));

function decibels(value: JsonNumber): string {
  const number = toNumber(value);
  return Number.isFinite(number) ? `${number.toFixed(1)} dB` : 'no noise';
}
