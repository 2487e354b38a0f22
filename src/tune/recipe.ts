import { stringify } from 'yaml';
import { type Recipe, recipeSchema } from '../config/recipe.js';
import type { QuantizeOptions } from '../quantize/options.js';
import { settingsOf } from './settings.js';

/** Name of the recipe in a run folder. */
export const RECIPE = 'recipe.yaml';

/** A recipe with which `dopt quantize`, on the same data, makes what options make. */
export function recipeText(model: string, options: QuantizeOptions): string {
  const { calibration, ...engine } = settingsOf(options);
  const recipe: Recipe = {
    name: `tuned-${model.toLowerCase().replace(/[^a-z0-9.-]+/g, '-')}`,
    family: 'tuned',
    description: `settings that dopt tune found for ${model} on ${options.target}`,
    preprocess: options.preprocess,
    calibration: { method: calibration, samples: options.samples },
    ...(options.exclude.length > 0 ? { exclude: options.exclude } : {}),
    ...(options.precision
      ? { precision: { int16: [...options.precision.int16], float: [...options.precision.float] } }
      : {}),
    ...(options.metric ? { metric: options.metric } : {}),
    engine,
  };
  return stringify(recipeSchema.parse(recipe));
}
