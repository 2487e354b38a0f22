import type { Result } from '../bridge/protocol.js';
import { count, percent, significant } from '../report/format.js';

/** What an evaluation found, as text. Pure. */
export function scoreLines({
  recipe,
  text,
  scored,
  float,
  quantized,
  samples,
}: Result<'llmEvaluate'>): string {
  const lines = [
    `${recipe} ${count(text.samples)} windows of ${count(text.length)} tokens, ${count(scored)} predicted.`,
    `float      perplexity ${significant(float.perplexity, 6)}, ${significant(float.nats, 5)} nats a token`,
  ];
  if (quantized) {
    const { perplexity, nats, kl, agreement, blocks } = quantized;
    lines.push(
      `quantized  perplexity ${significant(perplexity, 6)}, ${significant(nats, 5)} nats a token`,
      `           divergence ${significant(kl)} nats a token, same first choice ${percent(agreement, 2)}`,
      `           error of blocks ${blocks.map((error) => significant(error, 3)).join(' ')}`,
    );
  }
  for (const sample of samples) {
    lines.push('', `> ${sample.prompt}`, `float:     ${sample.float}`);
    if (sample.quantized !== null) lines.push(`quantized: ${sample.quantized}`);
  }
  return lines.join('\n');
}
