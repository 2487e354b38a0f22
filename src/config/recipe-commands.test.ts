import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { captureOutput } from '@oclif/test';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import RecipeCheck from '../commands/recipe/check.js';
import RecipeList from '../commands/recipe/list.js';
import RecipeShow from '../commands/recipe/show.js';
import { type RecipeFile, recipeSchema } from './recipe.js';
import { parseYaml } from './yaml.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('dopt recipe', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dopt-recipe-'));
  });
  afterAll(() => rm(folder, { recursive: true }));
  // Commands leave their exit code and their signal handlers to the process, which here is that of the tests.
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const before = signals.map((name) => process.listeners(name));
  afterEach(() => {
    process.exitCode = 0;
    for (const [index, name] of signals.entries()) {
      for (const listener of process.listeners(name)) {
        if (!before[index]?.includes(listener)) process.off(name, listener);
      }
    }
  });

  it('list prints a line a recipe', async () => {
    const { stdout, result } = await captureOutput<{ recipes: RecipeFile[] }>(() => RecipeList.run([], root));
    expect(stdout.trim().split('\n')).toHaveLength(result?.recipes.length ?? 0);
    expect(stdout).toMatch(/^yolox +YOLOX-Nano/m);
  });

  it('show prints a text that is the recipe', async () => {
    const { stdout, result } = await captureOutput<RecipeFile>(() => RecipeShow.run(['cgnet'], root));
    expect(parseYaml(stdout, 'shown.yaml', recipeSchema)).toEqual(result?.recipe);
  });

  it('check accepts a file, or says where it is wrong and sets exit code 3', async () => {
    const file = join(folder, 'mine.yaml');
    const head = 'name: mine\nfamily: test\ndescription: for tests\n';
    await writeFile(file, head);
    expect((await captureOutput(() => RecipeCheck.run([file], root))).stdout).toContain(
      'valid (recipe mine)',
    );
    expect(process.exitCode ?? 0).toBe(0);

    await writeFile(file, `${head}preprocess:\n  resise: 4\n`);
    const { stdout, stderr } = await captureOutput(() => RecipeCheck.run([file], root));
    expect(stdout).toBe('');
    expect(stderr).toContain(`${file}:5:3 has an unknown setting in preprocess: resise.`);
    expect(stderr).toContain('Did you mean resize?');
    expect(process.exitCode).toBe(3);
  });
});
