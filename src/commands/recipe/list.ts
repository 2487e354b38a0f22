import { BaseCommand } from '../../cli/base-command.js';
import type { RecipeFile } from '../../config/recipe.js';

export default class RecipeList extends BaseCommand {
  static override summary = 'list the recipes that come with dopt';
  static override description = 'Each can be given to --recipe by its name.';
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --json',
  ];

  async run(): Promise<{ recipes: RecipeFile[] }> {
    await this.parse(RecipeList);
    const { listRecipes } = await import('../../config/recipe.js');
    const recipes = await listRecipes();
    const width = Math.max(...recipes.map(({ recipe }) => recipe.name.length));
    for (const { recipe } of recipes) this.log(`${recipe.name.padEnd(width)}  ${recipe.description}`);
    return { recipes };
  }
}
