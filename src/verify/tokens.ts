import { readFileSync } from 'node:fs';
import type { TokensMetric } from '../config/metric.js';
import type { TaskResult } from '../config/verification.js';
import { UserError } from '../errors.js';
import { argmaxOverAxis1 } from './agreement.js';
import type { TokenFile } from './labels.js';
import { notFinite } from './not-finite.js';
import { type NpyArray, readNpy, readNpyRow } from './npy.js';
import {
  type Figure,
  type Outputs,
  percentage,
  pickOutput,
  type Statistic,
  scoresOf,
  type TaskScorer,
} from './task.js';
import type { Values } from './tensors.js';

export const TOKEN_FIGURES: readonly Figure[] = [
  { name: 'perplexity', unit: '', better: 'lower' },
  { name: 'nats a token', unit: 'nats', better: 'lower' },
  percentage('token accuracy'),
];

const SAME_DECISION = percentage('same decision');

/** Labelled tokens of one sequence. */
interface Sums {
  nats: number;
  right: number;
  tokens: number;
}

/** Cross entropy and accuracy of the next or same token, over all labelled tokens of all samples together. */
export class TokenScorer implements TaskScorer {
  private readonly float: Sums[] = [];
  private readonly quantized: Sums[] = [];
  private readonly alike: { equal: number; positions: number }[] = [];

  /** @param labels where the ids of each sample are, or null */
  constructor(
    private readonly metric: TokensMetric,
    private readonly names: readonly string[],
    private readonly labels: readonly TokenFile[] | null,
  ) {}

  add(sample: number, float: Outputs, quantized: Outputs): void {
    const name = this.names[sample]!;
    const [before, after] = [float, quantized].map((outputs) => logitsOf(outputs, this.metric)) as [
      Logits,
      Logits,
    ];
    this.alike.push({
      equal: before.best.reduce((sum, id, t) => sum + Number(id === after.best[t]), 0),
      positions: before.length,
    });
    const file = this.labels?.[sample];
    if (!file) return;
    const pairs = pairsOf(readIds(file, before.length), before, this.metric, file);
    this.float.push(score(before, pairs, 'float', name));
    this.quantized.push(score(after, pairs, 'quantized', name));
  }

  result(): TaskResult | null {
    const { alike } = this;
    const samples = alike.length;
    const scores = this.labels
      ? scoresOf(TOKEN_FIGURES, samples, tokenStatistic(this.float), tokenStatistic(this.quantized))
      : [];
    const against = scores.length > 0 ? 'labels' : 'float model';
    const agreement: Statistic = (counts) => {
      const sum = (key: 'equal' | 'positions'): number =>
        alike.reduce((total, one, i) => total + counts[i]! * one[key], 0);
      return [(100 * sum('equal')) / sum('positions')];
    };
    scores.push(...scoresOf([SAME_DECISION], samples, null, agreement));
    return { kind: 'tokens', against, samples, scores };
  }
}

/** Logits of one sequence, [length, vocabulary], with the largest at each position. */
interface Logits {
  data: ArrayLike<number>;
  length: number;
  vocabulary: number;
  best: Int32Array;
}

function logitsOf(outputs: Outputs, metric: TokensMetric): Logits {
  const { data, shape }: Values = pickOutput(outputs, metric.output);
  const [length = 0, vocabulary = 0] = shape.length === 3 && shape[0] === 1 ? shape.slice(1) : shape;
  if (data.length !== length * vocabulary || vocabulary < 2) {
    throw new UserError(
      'METRIC_OUTPUT',
      `Logits of a sequence are [1, T, vocabulary]; the output is [${shape.join(', ')}].`,
      { suggestions: ['Name the output with the logits: metric.output in the recipe.'] },
    );
  }
  return { data, length, vocabulary, best: argmaxOverAxis1(data, vocabulary, 1) };
}

function readIds({ path, row }: TokenFile, length: number): ArrayLike<number> {
  let ids: NpyArray;
  try {
    ids = row === null ? readNpy(readFileSync(path)) : readNpyRow(path, row);
  } catch (error) {
    throw new UserError('LABELS_UNREADABLE', `Cannot read the ids in ${path}: ${(error as Error).message}.`, {
      place: path,
      cause: error,
      suggestions: ['Labels of sequences are .npy files of integers, one id a position.'],
    });
  }
  if (ids.data.length === length) return ids.data;
  throw new UserError('LABELS_FORMAT', `${path} has ${ids.data.length} ids for a sequence of ${length}.`, {
    place: path,
    expected: `[${length}] or [1, ${length}]`,
    found: `[${ids.shape.join(', ')}]`,
    suggestions: ['Give one id a position; positions that do not count have one of metric.ignore.'],
  });
}

/** Positions that are scored, with the id that is right there. */
function pairsOf(
  ids: ArrayLike<number>,
  { length, vocabulary }: Logits,
  { shift, ignore }: TokensMetric,
  { path }: TokenFile,
): [position: number, id: number][] {
  const pairs: [number, number][] = [];
  for (let t = 0; t + Number(shift) < length; t++) {
    const id = ids[t + Number(shift)]!;
    if (ignore.includes(id)) continue;
    if (!Number.isInteger(id) || id < 0 || id >= vocabulary) {
      throw new UserError('LABEL_RANGE', `${path} has the id ${id}; the model has ${vocabulary}.`, {
        place: path,
        expected: `0 to ${vocabulary - 1}`,
        found: String(id),
        suggestions: [`If such positions do not count, add ${id} to metric.ignore in the recipe.`],
      });
    }
    pairs.push([t, id]);
  }
  return pairs;
}

function score(logits: Logits, pairs: readonly [number, number][], model: string, name: string): Sums {
  const sums: Sums = { nats: 0, right: 0, tokens: pairs.length };
  for (const [t, id] of pairs) {
    const nats = crossEntropy(logits.data, t * logits.vocabulary, logits.vocabulary, id);
    if (!Number.isFinite(nats)) throw notFinite(model, name);
    sums.nats += nats;
    sums.right += Number(logits.best[t] === id);
  }
  return sums;
}

/** −log softmax(row)[id], in nats. */
export function crossEntropy(data: ArrayLike<number>, start: number, length: number, id: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < length; i++) largest = Math.max(largest, data[start + i]!);
  let sum = 0;
  for (let i = 0; i < length; i++) sum += Math.exp(data[start + i]! - largest);
  return Math.log(sum) + largest - data[start + id]!;
}

const tokenStatistic =
  (sequences: readonly Sums[]): Statistic =>
  (counts) => {
    const total: Sums = { nats: 0, right: 0, tokens: 0 };
    sequences.forEach((one, i) => {
      total.nats += counts[i]! * one.nats;
      total.right += counts[i]! * one.right;
      total.tokens += counts[i]! * one.tokens;
    });
    const nats = total.nats / total.tokens;
    return [Math.min(Math.exp(nats), Number.MAX_VALUE), nats, (100 * total.right) / total.tokens];
  };
