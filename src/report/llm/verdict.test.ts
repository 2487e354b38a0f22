import { describe, expect, it } from 'vitest';
import type { LlmResult } from '../../config/llm-result.js';
import { judge } from './verdict.js';

const scored = (float: number, quantized: number, kl: number): LlmResult =>
  ({
    score: { float: { perplexity: float }, quantized: { perplexity: quantized, kl, agreement: 0.9 } },
  }) as LlmResult;

describe('the verdict on a language model', () => {
  it('goes by the loss on the text that scored', () => {
    expect(judge(scored(20, 20.4, 0.01)).level).toBe('good');
    expect(judge(scored(20, 21.5, 0.01)).level).toBe('caution');
    expect(judge(scored(20, 24, 0.01)).level).toBe('bad');
    expect(judge(scored(20, Number.NaN, Number.NaN)).level).toBe('bad');
  });

  it('does not take a model that merely suits the text better for a good copy', () => {
    const verdict = judge(scored(125.2, 119.6, 0.082));
    expect(verdict.level).toBe('caution');
    expect(verdict.sentence).toContain('less');
    expect(judge(scored(125.2, 119.6, 0.3)).level).toBe('bad');
  });

  it('says when nothing was scored', () => {
    expect(judge({ score: null } as LlmResult).level).toBe('unknown');
  });
});
