import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../cli/base-command.js';
import type { RecipeFile } from '../../config/recipe.js';

export default class RecipeCheck extends BaseCommand {
  static override summary = 'say whether a recipe is valid, and where it is not';
  static override description =
    'Names the line and column of everything wrong with the file, and ends with exit code 3 if anything is.';
  static override examples = ['<%= config.bin %> <%= command.id %> my-detector.yaml'];
  static override args = {
    recipe: Args.string({ required: true, description: 'YAML file, or name (dopt recipe list)' }),
  };

  async run(): Promise<RecipeFile> {
    const { args } = await this.parse(RecipeCheck);
    const { findRecipe, loadRecipe } = await import('../../config/recipe.js');
    const file = await findRecipe(args.recipe);
    const recipe = await loadRecipe(args.recipe);
    this.log(`${file}: valid (recipe ${recipe.name})`);
    return { file, recipe };
  }
}
