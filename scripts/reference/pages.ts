import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { publishedSchemas } from '../../src/config/json-schema.js';
import { listRecipes, type Recipe } from '../../src/config/recipe.js';
import { type CommandPage, commandsPage, readCommands } from './commands.js';
import { type Raised, readErrors } from './error-sources.js';
import { errorEntries, errorsPage } from './errors.js';
import { filesPage } from './files.js';
import { recipesPage } from './recipes.js';

/** What errors.yaml says, by code. */
export const errorNotes = (root: string): Record<string, string> =>
  parse(readFileSync(join(root, 'docs/reference/errors.yaml'), 'utf8')) as Record<string, string>;

/** What the pages are made of, beside the schemas. */
export interface Sources {
  commands: CommandPage[];
  errors: Raised[];
  recipes: Recipe[];
}

export const readSources = async (root: string): Promise<Sources> => ({
  commands: await readCommands(root),
  errors: readErrors(root),
  recipes: (await listRecipes()).map(({ recipe }) => recipe),
});

/** Text of every generated page by its path from the root. */
export function referencePages(root: string, { commands, errors, recipes }: Sources): Record<string, string> {
  return {
    'docs/reference/commands.md': commandsPage(commands),
    'docs/reference/errors.md': errorsPage(errorEntries(errors, errorNotes(root))),
    'docs/reference/files.md': filesPage(publishedSchemas()),
    'docs/reference/recipes.md': recipesPage(recipes),
  };
}
