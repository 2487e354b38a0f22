import type { LlmResult } from '../../config/llm-result.js';
import { percent, significant } from '../format.js';

/** How good a quantized language model is, in a word and a sentence. */
export interface LlmVerdict {
  level: 'good' | 'caution' | 'bad' | 'unknown';
  sentence: string;
  rule: string;
}

/** Loss of perplexity up to which a result is good, and beyond which it is poor. */
const GOOD = 0.03;
const POOR = 0.15;
/**
 * Published figures of 4-bit weights with static 16-bit activations lie between 3 and 20 % for models of 0.5 to 4 billion
 * parameters, of 4-bit weights alone from 7 billion on between 1 and 5 %.
 */
const RULE = `Good: up to ${100 * GOOD} % more perplexity; poor: more than ${100 * POOR} %. Small models lose more than large ones.`;

/** Judges a run by its loss of perplexity. Pure. */
export function judge({ score }: LlmResult): LlmVerdict {
  if (!score) return { level: 'unknown', sentence: 'The result was not scored.', rule: RULE };
  const { float, quantized } = score;
  const loss = quantized.perplexity / float.perplexity - 1;
  const level = !(loss <= POOR) ? 'bad' : loss <= GOOD ? 'good' : 'caution';
  const change = loss >= 0 ? `${percent(loss, 2)} more` : `${percent(-loss, 2)} less`;
  return {
    level,
    sentence: `Perplexity ${significant(float.perplexity)} became ${significant(quantized.perplexity)}, ${change}; ${percent(quantized.agreement)} of first choices are the same.`,
    rule: RULE,
  };
}
