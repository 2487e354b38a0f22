import { type Accuracy, accuracyOf } from '../../../src/target/calibrate/evaluate.js';

/** Where things lie. */
export interface Places {
  /** The package. */
  root: string;
  /** The test assets. */
  assets: string;
  /** Files that sections make. */
  work: string;
  /** Environments of other tools. */
  environments: string;
}

/** One comparison of the cost model with measurements. */
export interface Section {
  /** As --only takes it. */
  name: string;
  title: string;
  /** Markdown. Rejects with Skipped where data or a tool is missing. */
  measure(places: Places): Promise<string>;
}

/** Why a section cannot be measured here. */
export class Skipped extends Error {}

/** A table of Markdown: first column to the left, all others to the right. */
export function markdown(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(heads), `|---|${'--:|'.repeat(heads.length - 1)}`, ...rows.map(line)].join('\n');
}

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
export const signed = (share: number): string => `${share > 0 ? '+' : ''}${percent(share)}`;
export const milliseconds = (seconds: number): string => (1000 * seconds).toPrecision(4);

/** Mean error and rank correlation, as cells. */
export const accuracyCells = ({ mape, spearman }: Accuracy): string[] => [
  percent(mape),
  spearman === null ? '–' : spearman.toFixed(3),
];

/** Accuracy of predictions of the same rows. */
export const judge = (predicted: readonly number[], measured: readonly number[]): string[] =>
  accuracyCells(accuracyOf(predicted, measured));

/** The middle of some repetitions: what a timing is worth on a machine that does other things as well. */
export function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
