import { readFile } from 'node:fs/promises';
import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../cli/base-command.js';
import type { RecipeFile } from '../../config/recipe.js';

export default class RecipeShow extends BaseCommand {
  static override summary = 'print a recipe';
  static override description =
    'Prints the YAML text, to read or to start a recipe of your own from. With --json: the settings, defaults filled in.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> mobilenet',
    '<%= config.bin %> <%= command.id %> yolox > my-detector.yaml',
  ];
  static override args = {
    recipe: Args.string({ required: true, description: 'name (dopt recipe list) or YAML file' }),
  };

  async run(): Promise<RecipeFile> {
    const { args } = await this.parse(RecipeShow);
    const { findRecipe, loadRecipe } = await import('../../config/recipe.js');
    const file = await findRecipe(args.recipe);
    const recipe = await loadRecipe(args.recipe);
    this.log((await readFile(file, 'utf8')).trimEnd());
    return { file, recipe };
  }
}
