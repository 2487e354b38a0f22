import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { preprocessFrom } from '../cli/flags.js';
import { EXIT } from '../errors.js';
import { findRecipe, listRecipes, loadRecipe } from './recipe.js';

describe('recipes that come with dopt', () => {
  it('are all valid, and called as their files are', async () => {
    const recipes = await listRecipes();
    expect(recipes.map(({ recipe }) => recipe.name)).toEqual(
      recipes.map(({ file }) => basename(file, '.yaml')),
    );
    expect(recipes.map(({ recipe }) => recipe.name)).toEqual(
      expect.arrayContaining([
        'cgnet',
        'digits',
        'efficientnet-lite',
        'keywords',
        'mobilenet',
        'proxyless',
        'resnet',
        'resnet-cifar',
        'ultraface',
        'yolov8',
        'yolox',
      ]),
    );
  });

  it('begin with the line by which editors find their schema', async () => {
    const { readFile } = await import('node:fs/promises');
    for (const { file } of await listRecipes()) {
      expect((await readFile(file, 'utf8')).split('\n')[0]).toBe(
        '# yaml-language-server: $schema=../schemas/recipe.json',
      );
    }
  });

  it('prepare pictures on the scale 0 to 255', async () => {
    // The pixel 0.485 · 255 of ImageNet's mean becomes 0; 255 becomes (1 − 0.485) / 0.229.
    const { preprocess } = await loadRecipe('resnet');
    const [mean, std] = [preprocess?.mean, preprocess?.std].map((values) => (values as number[])[0]!);
    expect((255 - mean!) / std!).toBeCloseTo((1 - 0.485) / 0.229, 10);
    expect((await loadRecipe('proxyless')).preprocess).toMatchObject({ crop: 112, mean: 127.5, std: 127.5 });
  });

  it('fill in defaults', async () => {
    const { preprocess, metric } = await loadRecipe('yolox');
    expect(preprocess).toMatchObject({
      color: 'bgr',
      letterbox: { size: 416, pad: 114, align: 'top-left' },
      mean: 0,
      std: 1,
      layout: 'nchw',
    });
    expect(metric).toMatchObject({ kind: 'detection', classes: 80, protocol: 'coco' });
  });

  it('find a metric file beside them', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'dopt-recipe-'));
    try {
      const file = join(folder, 'my.yaml');
      const metric = 'metric: {kind: user, file: metrics/own.py, patience: 5}';
      await writeFile(file, `name: my\nfamily: test\ndescription: a test\n${metric}\n`);
      const { metric: read } = await loadRecipe(file);
      expect(read).toEqual({ kind: 'user', file: join(folder, 'metrics/own.py'), patience: 5 });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('yield to flags one setting at a time', async () => {
    const { preprocess } = await loadRecipe('mobilenet');
    expect(preprocessFrom({ crop: '192', mean: '127.5' }, preprocess)).toEqual({
      ...preprocess,
      crop: 192,
      mean: 127.5,
    });
  });
});

describe('the name of a recipe', () => {
  it('that is unknown is an error with near matches', async () => {
    await expect(loadRecipe('mobilnet')).rejects.toMatchObject({
      code: 'RECIPE_UNKNOWN',
      exitCode: EXIT.invalidInput,
      suggestions: expect.arrayContaining([
        'Did you mean mobilenet?',
        expect.stringContaining('dopt recipe list'),
      ]),
    });
  });

  it('cannot lead out of the folder of recipes', async () => {
    await expect(loadRecipe('..')).rejects.toMatchObject({ code: 'RECIPE_UNKNOWN' });
  });

  it('is a path when it has a folder or an ending', async () => {
    expect(await findRecipe('mobilenet.yaml')).toBe('mobilenet.yaml');
    expect(await findRecipe('here/mobilenet')).toBe('here/mobilenet');
    await expect(loadRecipe('nowhere/mobilenet.yaml')).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      place: 'nowhere/mobilenet.yaml',
    });
  });
});
