import { UserError } from '../errors.js';
import type { LlmLinear, LlmStrategy } from './layer-plan.js';

/** Bits of a scale in the count: formats store float16. */
const SCALE_BITS = 16;

/** Bits of a layer with its scales. */
export function bitsOf(
  { shape }: Pick<LlmLinear, 'shape'>,
  { bits, groupSize }: Pick<LlmStrategy, 'bits' | 'groupSize'>,
): number {
  const [outputs, inputs] = shape as [number, number];
  return outputs * inputs * bits + outputs * (groupSize > 0 ? inputs / groupSize : 1) * SCALE_BITS;
}

/** Mean bits of a weight over layers, scales included. */
export function meanBits(
  linears: readonly LlmLinear[],
  strategies: ReadonlyMap<string, LlmStrategy>,
): number {
  let bits = 0;
  let weights = 0;
  for (const linear of linears) {
    const strategy = strategies.get(linear.name);
    if (!strategy) continue;
    bits += bitsOf(linear, strategy);
    weights += linear.shape[0]! * linear.shape[1]!;
  }
  return weights === 0 ? 0 : bits / weights;
}

/**
 * Which of a block's layers lose most by 4 bits, most first: what llama.cpp's mixed types and the makers of NPUs widen
 * (https://github.com/ggml-org/llama.cpp, `llama_tensor_get_type`; ExecuTorch's 16a8w lists): products of two activations go
 * into the down projection, values are added up with weights, and the first and last blocks see sink tokens.
 */
const BY_RULE = [
  /\b(down_proj|dense_4h_to_h|fc2|c_proj|wo|w2)$/,
  /\bv_proj$|\b(qkv_proj|c_attn|query_key_value)$/,
  /\b(o_proj|dense|out_proj)$/,
  /./,
];

/** Rank of a layer by rule, least first; blocks at both ends before those in the middle. */
function rankByRule({ name, block }: LlmLinear, blocks: number): number {
  const kind = BY_RULE.findIndex((pattern) => pattern.test(name));
  const fromEnd = Math.min(block ?? 0, blocks - 1 - (block ?? 0)) / Math.max(1, blocks);
  return kind + fromEnd;
}

/**
 * Widens decoder layers from 4 to 8 bits as far as a mean number of bits allows. Pure.
 *
 * With `errors`, a layer's output error over its power at 4 bits by its name, those first that lose most a bit; else by rule.
 * @throws UserError LLM_BITS_BUDGET for a budget that the narrowest widths exceed
 */
export function widenWithin(
  budget: number,
  linears: readonly LlmLinear[],
  strategies: readonly LlmStrategy[],
  errors: ReadonlyMap<string, number> | null,
): LlmStrategy[] {
  const chosen = new Map(strategies.map((one) => [one.name, one]));
  const decoder = linears.filter(({ name, block }) => block !== null && chosen.has(name));
  const weights = decoder.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0);
  let left = budget * weights - decoder.reduce((sum, one) => sum + bitsOf(one, chosen.get(one.name)!), 0);
  if (left < 0) {
    const least = meanBits(decoder, chosen);
    throw new UserError(
      'LLM_BITS_BUDGET',
      `A mean of ${budget} bits is less than the ${least.toFixed(3)} of 4-bit weights with their scales.`,
      {
        expected: `${(Math.ceil(least * 100) / 100).toFixed(2)} or more, up to 8`,
        found: String(budget),
        suggestions: ['Take larger groups, which have fewer scales: --group-size 256 or channel.'],
      },
    );
  }
  const blocks = 1 + Math.max(0, ...decoder.map(({ block }) => block!));
  const order = decoder
    .filter(({ name }) => chosen.get(name)!.bits === 4)
    .map((linear) => {
      const wide = { ...chosen.get(linear.name)!, bits: 8, groupSize: 0, strategy: 'Quant_aigc_ptq' };
      const cost = bitsOf(linear, wide) - bitsOf(linear, chosen.get(linear.name)!);
      const error = errors?.get(linear.name);
      return { wide, cost, rank: errors ? -(error ?? 0) / cost : rankByRule(linear, blocks) };
    })
    .sort((a, b) => a.rank - b.rank || (a.wide.name < b.wide.name ? -1 : 1));
  for (const { wide, cost } of order) {
    if (cost > left) continue;
    chosen.set(wide.name, wide);
    left -= cost;
  }
  return strategies.map(({ name }) => chosen.get(name)!);
}
