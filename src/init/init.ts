import { existsSync } from 'node:fs';
import { basename, extname, resolve } from 'node:path';
import { listRecipes, loadRecipe, type Recipe, recipeSchema } from '../config/recipe.js';
import { shellLine } from '../convert/command-line.js';
import { type CaptureGraphOptions, captureGraph } from '../doors/captured-graph.js';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../run/atomic.js';
import { adapt } from './adapt.js';
import { type Family, recognize } from './family.js';
import { looksOf } from './looks.js';
import { type Ask, askPreprocess } from './questions.js';
import { recipeYaml } from './text.js';

export interface InitOptions extends CaptureGraphOptions {
  /** Recipe to begin with; null: the nearest one. */
  recipe: string | null;
  /** File to write; must not exist. */
  out: string;
  /** For the command that is printed. */
  data: string | null;
  target: string;
  ask: Ask;
}

export interface Init {
  out: string;
  /** Name of the recipe that it began with. */
  from: string | null;
  /** Why that one. */
  reasons: string[];
  recipe: Recipe;
  /** What only the one who trained the network knows. */
  checks: string[];
  /** What to run next, as words. */
  command: string[];
}

const NONE = 'none';

/**
 * Looks at a model, takes the nearest recipe, fits it to the model's inputs and outputs and writes it, with comments.
 *
 * Rejects with UserError INIT_EXISTS, RECIPE_UNKNOWN, and as `captureGraph` does.
 */
export async function initRecipe(options: InitOptions): Promise<Init> {
  const { model, out, ask } = options;
  refuseExisting(out);
  const given = options.recipe === null ? null : await loadRecipe(options.recipe);
  const { graph } = await captureGraph(options);
  const shipped = (await listRecipes()).map(({ recipe }) => recipe);
  const looks = looksOf(basename(model), graph.file);
  const family = recognize(looks, shipped);
  const base = given ?? (await chosen(family, shipped, ask));
  const name = nameFor(model);
  const adapted = adapt(name, looks, family, base);
  const { preprocess } = adapted.recipe;
  const asked = preprocess ? { preprocess: await askPreprocess(preprocess, ask) } : {};
  for (const key of ['color', 'mean', 'std'] as const) {
    if (JSON.stringify(asked.preprocess?.[key]) !== JSON.stringify(preprocess?.[key]))
      adapted.comments.set(`preprocess.${key}`, 'as answered');
  }
  const recipe = recipeSchema.parse({ ...adapted.recipe, ...asked });
  const head = [
    `Written by dopt init for ${looks.file}, ${base ? `from the recipe ${base.name}` : 'without a recipe of its family'}.`,
    ...because(base, family),
    'Fields: dopt docs files. Check it with: dopt recipe check FILE',
    ...adapted.checks.map((check) => `CHECK: ${check}`),
  ];
  await writeFileAtomic(out, recipeYaml(recipe, head, adapted.comments));
  return {
    out,
    from: base?.name ?? null,
    reasons: family.reasons,
    recipe,
    checks: adapted.checks,
    command: commandFor(options, name),
  };
}

const because = (base: Recipe | null, { recipe, reasons }: Family): string[] =>
  base?.name === recipe ? reasons.map((reason) => `- ${reason}`) : [];

async function chosen({ recipe }: Family, shipped: readonly Recipe[], ask: Ask): Promise<Recipe | null> {
  const choices = [...shipped.map(({ name }) => name), NONE];
  const answer = await ask({ text: 'Nearest family?', usual: recipe ?? NONE, choices });
  return shipped.find(({ name }) => name === answer) ?? null;
}

function refuseExisting(out: string): void {
  if (!existsSync(out)) return;
  throw new UserError('INIT_EXISTS', `${out} exists already and is not overwritten.`, {
    place: out,
    suggestions: ['Give another file: --out FILE.yaml', 'Or remove it first.'],
  });
}

const nameFor = (model: string): string =>
  basename(model, extname(model))
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '') || 'model';

/** Where a recipe goes that nobody gave a place. */
export const usualPlace = (model: string): string => resolve(`${nameFor(model)}.recipe.yaml`);

function commandFor({ model, weights, inputShapes, out, data, target }: InitOptions, name: string): string[] {
  const shapes = Object.entries(inputShapes).map(([input, shape]) => `${input}:${shape.join(',')}`);
  return [
    ...['dopt', 'quantize', model],
    ...(weights === null ? [] : ['--weights', weights]),
    ...(shapes.length === 0 ? [] : ['--input-shape', shapes.join(';')]),
    ...['--recipe', out, '--data', data ?? 'DATA', '--target', target, '--out', `runs/${name}`],
  ];
}

/** What was found and what to do, as text. */
export const describeInit = ({ out, from, reasons, checks, command }: Init): string =>
  [
    `family   ${from ?? 'none of the known ones'}${reasons.length > 0 ? `: ${reasons.join('; ')}` : ''}`,
    `written  ${out}`,
    ...checks.map((check) => `check    ${check}`),
    `next     ${shellLine(command)}`,
  ].join('\n');
