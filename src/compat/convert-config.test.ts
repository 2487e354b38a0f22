import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRecipe } from '../config/recipe.js';
import { parseNotrainConfig } from './config.js';
import { convertConfig, toRecipe } from './convert-config.js';

const sample = (name: string): URL => new URL(`../../test/fixtures/compat/configs/${name}`, import.meta.url);
const convert = (name: string, more: Partial<Parameters<typeof toRecipe>[1]> = {}) =>
  toRecipe(parseNotrainConfig(readFileSync(sample(name), 'utf8'), name), {
    out: '/r/My Net.yaml',
    layout: 'nchw',
    inputShape: [],
    ...more,
  });

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-convert-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('toRecipe', () => {
  it('carries over pictures, means, deviations and exclusions', () => {
    const { recipe, notes, command } = convert('three-std.prototxt', {
      layout: 'nhwc',
      inputShape: [{ name: 'x', dims: [1, 5, 7, 3] }],
    });
    expect(recipe).toMatchObject({
      name: 'my-net',
      preprocess: { color: 'rgb', resize: [5, 7], std: [58.4, 57.1, 57.4], layout: 'nhwc' },
      exclude: ['conv1/weights', 'conv2/weights', 'logits/weights'],
    });
    expect(notes.join('\n')).toMatch(/USE_GPU/);
    expect(command.join(' ')).toContain('--data /data/calibration --input-shape x:1,5,7,3 --out RUN');
  });

  it('says what it cannot know or hold', () => {
    expect(convert('image.prototxt').notes.join('\n')).toMatch(/size of the pictures/);
    expect(convert('int16.prototxt').command).toEqual(expect.arrayContaining(['--strategy', 'int16-8']));
    expect(convert('zero-std.prototxt').notes.join('\n')).toMatch(/standard_deviation 0/);
    const several = convert('two-inputs.prototxt');
    expect(several.recipe.preprocess).toBeUndefined();
    expect(several.notes.join('\n')).toMatch(/2 inputs/);
  });

  it('makes gray pictures of one channel', () => {
    const { recipe } = convert('image.prototxt', { inputShape: [{ name: 'x', dims: [1, 1, 16, 16] }] });
    expect(recipe.preprocess).toMatchObject({ color: 'gray', resize: [16, 16], mean: 0, std: 255 });
  });
});

describe('convertConfig', () => {
  it('writes a recipe that is read back the same, and never over another file', async () => {
    const config = join(folder, 'config.prototxt');
    writeFileSync(config, readFileSync(sample('three-std.prototxt')));
    const out = join(folder, 'recipe.yaml');
    const options = { config, out, layout: 'nchw' as const, inputShape: [{ name: 'x', dims: [1, 3, 8, 8] }] };
    const { recipe, notes } = await convertConfig(options);
    expect(await loadRecipe(out)).toEqual(recipe);
    const text = readFileSync(out, 'utf8');
    for (const note of notes) expect(text).toContain(`# - ${note}`);
    await expect(convertConfig(options)).rejects.toMatchObject({ code: 'COMPAT_OUT_EXISTS', place: out });
    expect(readFileSync(out, 'utf8')).toBe(text);
  });
});
