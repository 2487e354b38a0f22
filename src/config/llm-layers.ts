import { z } from 'zod';

/** What may be done to a layer, by the original tool's names. */
export const LLM_STRATEGIES = [
  'float',
  'Quant_act_weight_eco',
  'Quant_lm_head',
  'Quant_Embed_MinMax',
  'Quant_aigc_ptq',
  'Quant_aigc_qat',
] as const;
export type LlmStrategyName = (typeof LLM_STRATEGIES)[number];

/** What the plug-in's files say of a width beside it; how numbers are found is a matter of the whole run here. */
const WEIGHT_ALGORITHMS = ['min_max', 'group_min_max', 'omni_min_max', 'omni_group_min_max'] as const;
const INPUT_ALGORITHMS = ['min_max', 'ema', 'omni_min_max'] as const;

export const llmLayerSchema = z.strictObject({
  type: z.string().optional().describe('type of the module, for the reader'),
  quant_strategy: z
    .enum(['', ...LLM_STRATEGIES])
    .nullish()
    .describe('empty: whatever is sensible'),
  weight: z
    .strictObject({
      bit: z.union([z.literal(4), z.literal(8)]).optional(),
      group_size: z
        .union([z.literal(0), z.literal(-1), z.literal(32), z.literal(64), z.literal(128), z.literal(256)])
        .optional()
        .describe('inputs that share a scale; 0 or -1: all of a row'),
      weight_algo: z.enum(WEIGHT_ALGORITHMS).optional(),
    })
    .optional(),
  input: z
    .strictObject({
      bit: z.union([z.literal(8), z.literal(16)]).optional(),
      input_algo: z.enum(INPUT_ALGORITHMS).optional(),
      unsigned_quant: z.boolean().optional().describe('true: asymmetric'),
    })
    .optional(),
  output: z
    .strictObject({
      bit: z.literal(16).optional(),
      per_channel: z.boolean().optional(),
      input_algo: z.enum(INPUT_ALGORITHMS).optional(),
    })
    .optional(),
  lora_config: z
    .strictObject({
      rank: z.number().int().positive().default(32),
      alpha: z.number().positive().default(32),
      quant_state: z.boolean().default(false),
    })
    .optional(),
});
export type LlmLayer = z.infer<typeof llmLayerSchema>;

/**
 * dopt_config.json: what becomes of each layer, by the module's name or a pattern with `*`. A name counts more than a
 * pattern, a later pattern more than an earlier one; layers that none names are treated as is sensible.
 */
export const llmLayersSchema = z.record(z.string(), llmLayerSchema);
export type LlmLayers = z.infer<typeof llmLayersSchema>;

/** The same inside of `layer_strategy`, as in the files for other networks. */
export const llmNestedLayersSchema = z.strictObject({ layer_strategy: llmLayersSchema });
