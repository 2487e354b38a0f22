import { z } from 'zod';
import { analysisSchema } from './analysis.js';
import { costSchema } from './cost.js';
import { graphSchema } from './graph.js';
import { llmArtifactSchema } from './llm-artifact.js';
import { llmConfigSchema } from './llm-config.js';
import { llmLayersSchema } from './llm-layers.js';
import { llmResultSchema } from './llm-result.js';
import { manifestSchema } from './manifest.js';
import { paretoSchema } from './pareto.js';
import { planSchema } from './plan.js';
import { pluginConfigSchema } from './plugin-config.js';
import { quantParamsSchema } from './quant-params.js';
import { recipeSchema } from './recipe.js';
import { resultSchema } from './result.js';
import { rewriteSchema } from './rewrite.js';
import { scenarioSchema } from './scenario.js';
import { searchEventSchema } from './search-event.js';
import { statisticsSchema } from './statistics.js';
import { targetSchema } from './target.js';
import { writeBackSchema } from './write-back.js';

/** What is published in schemas/, by file name without its ending: what it describes, and the schema. */
const PUBLISHED: Record<string, { title: string; schema: z.ZodType }> = {
  analysis: { title: 'analysis.json: what each quantizer of a run does', schema: analysisSchema },
  cost: { title: 'what dopt cost --json prints', schema: costSchema },
  graph: { title: 'graph.json: the captured network', schema: graphSchema },
  llm_artifact: { title: 'index.json of a quantized language model', schema: llmArtifactSchema },
  llm_config: { title: "config.yaml of a language model's stages", schema: llmConfigSchema },
  llm_result: { title: 'result.json: what a run of a language model came to', schema: llmResultSchema },
  manifest: { title: 'manifest.json: what a run was made with', schema: manifestSchema },
  plan: { title: 'plan.json: what becomes of every node and tensor', schema: planSchema },
  plugin_config: { title: 'settings of the training plug-in', schema: pluginConfigSchema },
  quant_params: { title: 'quant_params.json: scales and zero points', schema: quantParamsSchema },
  recipe: { title: 'recipe: settings for a family of models', schema: recipeSchema },
  result: { title: 'result.json: what a run came to', schema: resultSchema },
  write_back: {
    title: "write-back.json: a quantization told for the model's own framework",
    schema: writeBackSchema,
  },
  pareto: { title: 'pareto.json: the networks that a search has found', schema: paretoSchema },
  rewrite: { title: 'rewrite.json: edits of an ONNX model', schema: rewriteSchema },
  scenario: { title: 'scen.yaml: what an architecture search is to do', schema: scenarioSchema },
  search_event: { title: 'a line of search.ndjson: what happened in a search', schema: searchEventSchema },
  statistics: { title: 'statistics.json: what calibration saw', schema: statisticsSchema },
  target: { title: 'target profile: what is known of a device', schema: targetSchema },
};

/** Text of every file in schemas/ by file name: JSON Schema draft 7, the newest that YAML editors read. */
export function publishedSchemas(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(PUBLISHED).map(([name, published]) => [`${name}.json`, schemaText(published)]),
  );
}

function schemaText({ title, schema }: { title: string; schema: z.ZodType }): string {
  const { $schema, ...rest } = z.toJSONSchema(schema, {
    target: 'draft-07',
    io: 'input',
    override: fixTupleLength,
  });
  return `${JSON.stringify({ $schema, title, ...rest }, null, 2)}\n`;
}

/** Schemas that the Python package carries along, by path from the repository's root: the plug-ins work without Node. */
export function pythonSchemas(): Record<string, string> {
  return {
    'python/dopt/plugin/config.schema.json': publishedSchemas()['plugin_config.json']!,
    'python/dopt/dopt_lm/layers.schema.json': schemaText({
      title: 'dopt_config.json: what becomes of the layers of a language model',
      schema: llmLayersSchema,
    }),
  };
}

/** Draft 7 lets a tuple be shorter or longer than its items unless told otherwise. */
function fixTupleLength({ jsonSchema }: { jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  if (!Array.isArray(jsonSchema.items)) return;
  jsonSchema.minItems = jsonSchema.items.length;
  jsonSchema.maxItems = jsonSchema.items.length;
}
