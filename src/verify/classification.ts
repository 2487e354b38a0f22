import type { ClassificationMetric } from '../config/metric.js';
import type { TaskResult } from '../config/verification.js';
import { UserError } from '../errors.js';
import { type Outputs, percentage, pickOutput, type Statistic, scoresOf, type TaskScorer } from './task.js';
import type { Values } from './tensors.js';

/** Top-k accuracy. */
export class ClassificationScorer implements TaskScorer {
  private readonly ranks: { float: number[]; quantized: number[] } = { float: [], quantized: [] };

  /** @param labels one class number a sample */
  constructor(
    private readonly metric: ClassificationMetric,
    private readonly labels: readonly number[],
    private readonly names: readonly string[],
  ) {}

  add(sample: number, float: Outputs, quantized: Outputs): void {
    const label = this.labels[sample]!;
    const name = this.names[sample]!;
    const { output } = this.metric;
    this.ranks.float.push(rankOf(pickOutput(float, output), label, name));
    this.ranks.quantized.push(rankOf(pickOutput(quantized, output), label, name));
  }

  result(): TaskResult {
    const { float, quantized } = this.ranks;
    const { topk } = this.metric;
    const scores = scoresOf(
      topk.map((k) => percentage(`top-${k}`)),
      float.length,
      accuracy(float, topk),
      accuracy(quantized, topk),
    );
    return { kind: 'classification', against: 'labels', samples: float.length, scores };
  }
}

/**
 * How many classes come before the label when scores are sorted downwards, lower class numbers first among equals.
 * A score that is NaN comes last.
 * @param scores of one sample
 */
export function labelRank(scores: ArrayLike<number>, label: number): number {
  const own = scores[label]!;
  if (Number.isNaN(own)) return scores.length;
  let rank = 0;
  for (let c = 0; c < scores.length; c++) {
    if (scores[c]! > own || (scores[c] === own && c < label)) rank++;
  }
  return rank;
}

function rankOf(output: Values, label: number, name: string): number {
  const classes = output.shape[1] ?? 0;
  if (output.data.length !== classes || classes < 2) {
    throw new UserError(
      'METRIC_OUTPUT',
      `Classification needs one row of scores a sample, [1, C]; the output for ${name} is ` +
        `[${output.shape.join(', ')}].`,
      { suggestions: ['Name the output with the scores: metric.output in the recipe.'] },
    );
  }
  if (label >= classes) {
    throw new UserError(
      'LABEL_RANGE',
      `The label of ${name} is ${label}, but the model has ${classes} classes.`,
      {
        expected: `0 to ${classes - 1}`,
        found: String(label),
        suggestions: ['Check that the labels count from 0 and belong to this model.'],
      },
    );
  }
  return labelRank(output.data, label);
}

function accuracy(ranks: readonly number[], topk: readonly number[]): Statistic {
  return (counts) =>
    topk.map((k) => {
      let hits = 0;
      let total = 0;
      ranks.forEach((rank, sample) => {
        total += counts[sample]!;
        if (rank < k) hits += counts[sample]!;
      });
      return (100 * hits) / total;
    });
}
