import type { LlmStrategyName } from '../config/llm-layers.js';
import {
  type LlmLayer,
  type LlmLayers,
  llmLayersSchema,
  llmNestedLayersSchema,
} from '../config/llm-layers.js';
import { readTextFile } from '../config/text-file.js';
import { parseYaml, type YamlKind } from '../config/yaml.js';
import type { LayerPlan, LlmInspection } from './layer-plan.js';

const KIND: YamlKind = {
  code: 'DOPT_CONFIG_INVALID',
  never: 'no dopt_config.json',
  advice: 'Leave it out: it is written and filled in by the same run.',
  check: 'Mend the file, or delete it: it is written anew and filled in.',
  words: 400_000,
};

/** Reads dopt_config.json. @throws UserError DOPT_CONFIG_INVALID with file, line and column */
export async function readLayerFile(path: string): Promise<LlmLayers> {
  return parseLayerFile(await readTextFile(path, KIND), path);
}

/** dopt_config.json from its text, with the layers at its top or inside of `layer_strategy`; `path` is named in errors. */
export function parseLayerFile(text: string, path: string): LlmLayers {
  const nested = /^\s*\{\s*"layer_strategy"\s*:/.test(text);
  // JSON is YAML: its reader knows where things are, and takes the trailing commas of the original's samples.
  if (nested) return parseYaml(text, path, llmNestedLayersSchema, KIND).layer_strategy;
  return parseYaml(text, path, llmLayersSchema, KIND);
}

/**
 * The file that says what a plan says, an entry a layer; experts of a block that are alike share a pattern. Pure.
 */
export function layerFile(model: LlmInspection, plan: LayerPlan): LlmLayers {
  const strategies = new Map(plan.linears.map((one) => [one.name, one]));
  const input = plan.activations
    ? { input: { bit: plan.activations.bits, unsigned_quant: !plan.activations.symmetric } }
    : {};
  const entries: [string, LlmLayer][] = [];
  for (const { name, kind } of model.linears) {
    const strategy = strategies.get(name);
    const key = kind === 'expert' ? name.replace(/\.\d+$/, '.*') : name;
    const type = kind === 'conv1d' ? 'Conv1D' : 'Linear';
    const groups = strategy?.bits === 4 ? { group_size: strategy.groupSize as 0 } : {};
    entries.push([
      key,
      strategy
        ? {
            type,
            quant_strategy: strategy.strategy as LlmStrategyName,
            weight: { bit: strategy.bits as 4 | 8, ...groups },
            ...input,
          }
        : { type, quant_strategy: 'float' },
    ]);
  }
  const embedding: LlmLayer =
    plan.embeddingBits === null
      ? { type: 'Embedding', quant_strategy: 'float' }
      : { type: 'Embedding', quant_strategy: 'Quant_Embed_MinMax', weight: { bit: plan.embeddingBits } };
  return Object.fromEntries([[model.embedding.name, embedding], ...entries]);
}
