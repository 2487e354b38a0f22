import { readdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { preprocessSchema } from './data.js';
import { metricSchema } from './metric.js';
import { engineSettingsSchema } from './tuning.js';
import { readYaml } from './yaml.js';

/** The settings of `preprocessSchema`, also checked against each other. */
const recipePreprocessSchema = preprocessSchema.superRefine(
  ({ color, resize, letterbox, crop, mean, std }, context) => {
    const report = (key: string, message: string): void => {
      context.addIssue({ code: 'custom', path: [key], message });
    };
    if (resize !== undefined && letterbox !== undefined) {
      report('letterbox', 'resize or letterbox, not both: letterbox already scales the picture');
    }
    const scaled = sides(letterbox?.size ?? resize);
    if (sides(crop)?.some((side, index) => side > (scaled?.[index] ?? Number.POSITIVE_INFINITY))) {
      report('crop', `no more than the scaled picture, ${scaled?.join('x')}`);
    }
    const channels = color === 'gray' ? 1 : 3;
    for (const [key, value] of Object.entries({ mean, std })) {
      if (Array.isArray(value) && value.length !== 1 && value.length !== channels) {
        report(key, channels === 1 ? '1 value, for gray pictures' : `1 value or 3, for ${color} pictures`);
      }
    }
  },
);

/** Height and width; where only the shorter side is known, that for both. */
const sides = (size: number | [number, number] | undefined): [number, number] | undefined =>
  typeof size === 'number' ? [size, size] : size;

/**
 * A recipe: what is known about a family of models, so that it need not be typed as flags. Flags win over it.
 */
export const recipeSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]*$/, 'lower-case letters, digits, dots and hyphens')
    .describe('how the recipe is called in --recipe and in reports'),
  family: z.string().min(1).describe('kind of network, such as "residual network"'),
  description: z.string().min(1).describe('what it is for, in a sentence'),
  matches: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('names of model files it is meant for; * stands for anything'),
  preprocess: recipePreprocessSchema
    .optional()
    .describe('how a picture becomes a tensor; mean and std are on 0..255 values'),
  calibration: z
    .strictObject({
      method: z
        .enum(['auto', 'minmax', 'percentile', 'entropy', 'mse'])
        .default('auto')
        .describe('how ranges are chosen; auto decides by the error at the next layer, tensor by tensor'),
      samples: z.number().int().positive().optional().describe('calibration samples used at most'),
    })
    .optional(),
  exclude: z
    .array(z.string().min(1))
    .optional()
    .describe('node, weight, tensor, pattern* or op:Type to keep in float'),
  precision: z
    .strictObject({
      int16: z
        .array(z.string().min(1))
        .default([])
        .describe('activation tensors or pattern* that carry 16 bits'),
      float: z
        .array(z.string().min(1))
        .default([])
        .describe('activation tensors or pattern* that stay float, with the layers that read them'),
    })
    .optional()
    .describe('activations that 8 bits are not enough for'),
  metric: metricSchema.optional().describe('how accuracy is scored against labels'),
  engine: z
    .strictObject({
      effort: engineSettingsSchema.shape.effort.optional().describe('how much work goes into accuracy'),
      without: z.array(z.string().min(1)).default([]).describe('algorithms to leave out'),
      with: z
        .array(z.string().min(1))
        .default([])
        .describe('algorithms to run though the effort does not begin with them'),
      weightsGranularity: engineSettingsSchema.shape.weightsGranularity
        .optional()
        .describe('scales of a weight: one a channel where the target can do that, or one'),
    })
    .optional()
    .describe('settings of the engine, as dopt tune finds them'),
  target: z
    .record(z.string(), z.string().min(1))
    .optional()
    .describe('what to know on a device, by its name (dopt target list); * for all'),
  expected: z
    .strictObject({
      measured: z.boolean().describe('whether dopt was run with a network of this family'),
      result: z.string().min(1).optional().describe('what came of it: the network, the score, the data'),
      source: z
        .string()
        .min(1)
        .describe('where the figures are, or, of what was not measured, the settings are from'),
    })
    .optional()
    .describe('what to expect'),
});
export type Recipe = z.infer<typeof recipeSchema>;

/** A recipe and the file it was read from. */
export interface RecipeFile {
  file: string;
  recipe: Recipe;
}

/** The folder of the recipes that come with dopt, from src/ and from dist/ alike. */
const shippedFolder = (): string => fileURLToPath(new URL('../../recipes', import.meta.url));

/** `nameOrPath` names a file when it has a folder or an ending of YAML; otherwise a recipe that comes with dopt. */
const isPath = (nameOrPath: string): boolean => /[\\/]|\.ya?ml$/i.test(nameOrPath);

/**
 * The file of a recipe, by the name of one that comes with dopt or by path (which need not exist).
 *
 * Throws UserError RECIPE_UNKNOWN, with near matches.
 */
export async function findRecipe(nameOrPath: string): Promise<string> {
  if (isPath(nameOrPath)) return nameOrPath;
  const names = await shippedNames();
  if (names.includes(nameOrPath)) return join(shippedFolder(), `${nameOrPath}.yaml`);
  throw new UserError('RECIPE_UNKNOWN', `There is no recipe called ${nameOrPath}.`, {
    expected: `${names.join(', ')}, or the path of a YAML file`,
    suggestions: [
      ...nearMatches(nameOrPath, names).map((name) => `Did you mean ${name}?`),
      'List the recipes with `dopt recipe list`; a file of your own needs its ending: my.yaml.',
    ],
  });
}

/**
 * A recipe by name or path, defaults filled in.
 *
 * Throws UserError: RECIPE_UNKNOWN, or RECIPE_INVALID with file, line and column.
 */
export async function loadRecipe(nameOrPath: string): Promise<Recipe> {
  const file = await findRecipe(nameOrPath);
  const recipe = await readYaml(file, recipeSchema);
  if (recipe.metric?.kind !== 'user') return recipe;
  return { ...recipe, metric: { ...recipe.metric, file: resolve(dirname(file), recipe.metric.file) } };
}

/** All recipes that come with dopt, by name. */
export async function listRecipes(): Promise<RecipeFile[]> {
  const files = (await shippedNames()).map((name) => join(shippedFolder(), `${name}.yaml`));
  return Promise.all(files.map(async (file) => ({ file, recipe: await readYaml(file, recipeSchema) })));
}

async function shippedNames(): Promise<string[]> {
  const files = await readdir(shippedFolder());
  return files
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => basename(file, '.yaml'))
    .sort();
}
