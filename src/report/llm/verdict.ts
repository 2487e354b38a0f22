import type { LlmResult } from '../../config/llm-result.js';
import { percent, significant } from '../format.js';

/** How good a quantized language model is, in a word and a sentence. */
export interface LlmVerdict {
  level: 'good' | 'caution' | 'bad' | 'unknown';
  sentence: string;
  rule: string;
}

/** Loss up to which a result is good, and beyond which it is poor. */
const GOOD = 0.03;
const POOR = 0.15;
/**
 * Published figures of 4-bit weights with static 16-bit activations lie between 3 and 20 % for models of 0.5 to 4 billion
 * parameters, of 4-bit weights alone from 7 billion on between 1 and 5 %.
 */
const RULE =
  `Good: up to ${100 * GOOD} % more perplexity on this text, and on text that the float model writes (which its divergence ` +
  `tells); poor: more than ${100 * POOR} % on either. Small models lose more than large ones.`;

/**
 * Judges a run by what it loses on the text that scored and on the float model's own: there the logarithm of the two
 * perplexities' ratio is the divergence, so a model that merely suits the text better is not taken for a good copy. Pure.
 */
export function judge({ score }: LlmResult): LlmVerdict {
  if (!score) return { level: 'unknown', sentence: 'The result was not scored.', rule: RULE };
  const { float, quantized } = score;
  const change = quantized.perplexity / float.perplexity - 1;
  const loss = Math.max(change, Math.expm1(quantized.kl));
  const level = !(loss <= POOR) ? 'bad' : loss <= GOOD ? 'good' : 'caution';
  const changed = change >= 0 ? `${percent(change, 2)} more` : `${percent(-change, 2)} less`;
  return {
    level,
    sentence: `Perplexity ${significant(float.perplexity)} became ${significant(quantized.perplexity)}, ${changed}; ${percent(quantized.agreement)} of first choices are the same.`,
    rule: RULE,
  };
}
