import type { Score, TaskResult } from '../config/verification.js';
import { UserError } from '../errors.js';
import { draws, spread } from './bootstrap.js';
import type { Values } from './tensors.js';

/** The outputs of a model for one sample, in the model's order; both models under the float model's names. */
export type Outputs = Readonly<Record<string, Values>>;

/** Gathers what a task metric needs from each sample, and scores both models at the end. */
export interface TaskScorer {
  /** @param sample index of the sample, 0, 1, 2, … in order */
  add(sample: number, float: Outputs, quantized: Outputs): void;
  /** null where nothing in the samples could be scored. */
  result(): TaskResult | null;
}

/** What a figure is called and how it reads. */
export type Figure = Pick<Score, 'name' | 'unit' | 'better'>;

/** The figures of one model when sample i counts `counts[i]` times; NaN where one is not defined. */
export type Statistic = (counts: Uint16Array) => readonly number[];

/** A figure in percent, of which more is better. */
export const percentage = (name: string): Figure => ({ name, unit: '%', better: 'higher' });

/**
 * The figures of both models, with their spread over the choice of samples. Figures that are not defined for all samples
 * together are left out.
 *
 * @param float null where the float model itself is the reference
 */
export function scoresOf(
  figures: readonly Figure[],
  samples: number,
  float: Statistic | null,
  quantized: Statistic,
): Score[] {
  const once = new Uint16Array(samples).fill(1);
  const before = float?.(once);
  const after = quantized(once);
  const rounds: { float: readonly number[] | undefined; quantized: readonly number[] }[] = [];
  for (const counts of draws(samples)) {
    rounds.push({ float: float?.(counts), quantized: quantized(counts) });
  }
  return figures.flatMap((figure, i) => {
    const values = { float: before?.[i] ?? null, quantized: after[i]! };
    if (Number.isNaN(values.quantized) || Number.isNaN(values.float)) return [];
    const uncertainty = spread(
      float && rounds.map((round) => round.float![i]!),
      rounds.map((round) => round.quantized[i]!),
    );
    return [{ ...figure, ...values, ...uncertainty }];
  });
}

/**
 * The named output, or the first.
 * @throws UserError METRIC_OUTPUT when there is none of that name
 */
export function pickOutput(outputs: Outputs, name: string | undefined, key = 'metric.output'): Values {
  const found = name === undefined ? Object.values(outputs)[0] : outputs[name];
  if (found) return found;
  throw new UserError('METRIC_OUTPUT', `The model has no output ${name ?? 'of numbers'}.`, {
    expected: `one of ${Object.keys(outputs).join(', ')}`,
    suggestions: [`Mend ${key} in the recipe.`],
  });
}

/** Names of scores as people type them: `top1` is `top-1`, `miou` is `mIoU`, `ar100` is `AR@100`. */
export const plainName = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');

/** The result with the score to judge by first, and a warning where there is none of that name. */
export function judgedFirst(
  task: TaskResult,
  judge: string | undefined,
): { task: TaskResult; warnings: string[] } {
  if (judge === undefined) return { task, warnings: [] };
  const isJudge = ({ name }: Score): boolean => plainName(name) === plainName(judge);
  const found = task.scores.filter(isJudge);
  if (found.length === 0) {
    const warning = `The metric has no score ${judge} here: ${task.scores[0]!.name} is judged by.`;
    return { task, warnings: [warning] };
  }
  return {
    task: { ...task, scores: [...found, ...task.scores.filter((score) => !isJudge(score))] },
    warnings: [],
  };
}
