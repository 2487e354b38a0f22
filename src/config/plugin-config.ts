import { z } from 'zod';

/**
 * The settings file of the training plug-in (`python/dopt/plugin`), with the original tool's keys. The plug-in runs
 * without Node: it checks files against the JSON Schema made from this.
 */

/** Widths of a layer, activations first. The last is not in the original: 4-bit weights for retraining. */
export const PLUGIN_STRATEGIES = ['float', 'Quant_INT8-8', 'Quant_INT16-8', 'Quant_INT8-4'] as const;

export const layerStrategySchema = z.strictObject({
  op_type: z.string().optional().describe('type of the layer, for the reader: checked against the network'),
  quant_strategy: z.enum(PLUGIN_STRATEGIES),
});

export const pluginConfigSchema = z
  .strictObject({
    $schema: z.string().optional(),
    input_shape: z
      .string()
      .regex(/^\s*[^:;\s]+\s*:\s*\d+(\s*,\s*\d+)*\s*(;\s*[^:;\s]+\s*:\s*\d+(\s*,\s*\d+)*\s*)*;?\s*$/)
      .describe('shapes of deployment: "input:1,3,224,224;mask:1,224"'),
    params_version: z
      .enum(['v1', 'v2'])
      .default('v2')
      .describe(
        'v1: chips before Kirin 9020, whose fully connected layers have one weight scale; v2: newer ones',
      ),
    layer_strategy: z
      .record(z.string(), layerStrategySchema)
      .describe(
        'by name of a layer or pattern (* and ?); a name counts more than a pattern, a later pattern more',
      ),
  })
  .meta({
    patternProperties: {
      '^//': { description: 'a comment' },
      "^quant_strategy_for op '.+'$": { description: 'what may be chosen for a type of layer; not read' },
    },
  });

export type PluginConfig = z.infer<typeof pluginConfigSchema>;
