import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { listRecipes, loadRecipe, type Recipe, recipeSchema } from '../config/recipe.js';
import { parseYaml } from '../config/yaml.js';
import { adapt } from './adapt.js';
import { recognize } from './family.js';
import { type Dim, type Looks, looksOf } from './looks.js';
import { askNobody, askPeople, askPreprocess } from './questions.js';
import { recipeYaml } from './text.js';

let recipes: Recipe[];
beforeAll(async () => {
  recipes = (await listRecipes()).map(({ recipe }) => recipe);
});

/** A network by its inputs, outputs and operators. */
function looks(
  input: Dim[],
  outputs: Dim[][],
  operators: Record<string, number> = { Conv: 20 },
  more: { file?: string; depthwise?: number; dtype?: string } = {},
): Looks {
  const made = looksOf(more.file ?? 'net.onnx', {
    version: 1,
    name: 'net',
    irVersion: 8,
    opset: { '': 13 },
    inputs: [{ name: 'x', dtype: (more.dtype ?? 'float32') as 'float32', shape: input }],
    outputs: outputs.map((shape, i) => ({ name: `y${i}`, dtype: 'float32', shape })),
    initializers: [],
    nodes: [],
    tensors: {},
  });
  return { ...made, operators: new Map(Object.entries(operators)), depthwise: more.depthwise ?? 0 };
}

const family = (...of: Parameters<typeof looks>): string | null => recognize(looks(...of), recipes).recipe;
const picture = (size: number): Dim[] => [1, 3, size, size];

describe('a family', () => {
  it.for<[string, Parameters<typeof looks>]>([
    ['yolox', [picture(416), [[1, 3549, 85]]]],
    ['yolov5', [picture(640), [[1, 25200, 85]]]],
    ['yolov8', [picture(640), [[1, 84, 8400]]]],
    ['nanodet', [picture(416), [[1, 3598, 112]]]],
    ['picodet', [picture(320), [...Array(4).fill([1, 100, 80]), ...Array(4).fill([1, 100, 32])]]],
    [
      'ssd',
      [
        picture(300),
        [
          [1, 1917, 91],
          [1, 1917, 4],
        ],
      ],
    ],
    [
      'ultraface',
      [
        [1, 3, 240, 320],
        [
          [1, 4420, 2],
          [1, 4420, 4],
        ],
      ],
    ],
    ['deeplab', [picture(520), [[1, 21, 520, 520]]]],
    ['espnet', [[1, 3, 512, 1024], [[1, 20, 512, 1024]]]],
    ['super-resolution', [[1, 1, 24, 24], [[1, 1, 72, 72]]]],
    ['ocr', [[1, 3, 48, 320], [[1, 40, 6625]]]],
    ['keywords', [[1, 490], [[1, 12]]]],
    ['resnet-cifar', [picture(32), [[1, 10]]]],
    ['resnet', [picture(224), [[1, 1000]], { Conv: 53, Add: 16, Gemm: 1 }]],
    ['squeezenet', [picture(224), [[1, 1000, 1, 1]], { Conv: 26, Concat: 8 }]],
    ['deit', [picture(224), [[1, 1000]], { Conv: 1, MatMul: 72, Softmax: 12 }]],
  ])('%s by its outputs and operators', ([name, of]) => expect(family(...of)).toBe(name));

  it('of depthwise networks by activations and residuals', () => {
    const built = (operators: Record<string, number>): string | null =>
      family(picture(224), [[1, 1000]], { Conv: 52, ...operators }, { depthwise: 17 });
    expect(built({ Add: 10, Clip: 35 })).toBe('mobilenet');
    expect(built({ Add: 10, HardSigmoid: 20 })).toBe('mobilenet');
    expect(built({ Add: 9, Sigmoid: 65 })).toBe('efficientnet');
    expect(built({ Clip: 27 })).toBe('mobilenet-v1');
  });

  it('of a named file, where its outputs are such ones', () => {
    const named = (file: string): string | null => family(picture(224), [[1, 1000]], { Conv: 20 }, { file });
    expect(named('mcunet-256kb.onnx')).toBe('proxyless');
    expect(named('my_mobilenet_v1_0.5.onnx')).toBe('mobilenet-v1');
    expect(named('MobileNetV2.onnx')).toBe('mobilenet');
    // A detector on top of it is no classifier.
    expect(
      family(
        picture(300),
        [
          [1, 1917, 91],
          [1, 1917, 4],
        ],
        {},
        { file: 'mobilenetv2.onnx' },
      ),
    ).toBe('ssd');
  });

  it('that is not known has no recipe, but a task where its outputs say one', () => {
    expect(recognize(looks([1, 7], [[1, 3, 5]]), recipes)).toMatchObject({ recipe: null, task: null });
    const maps = looks(picture(256), [[1, 5, 256, 256]]);
    expect(recognize(maps, recipes)).toMatchObject({ recipe: null, task: 'segmentation', classes: 5 });
    expect(family([1, 128], [[1, 2]], { MatMul: 30 }, { dtype: 'int64' })).toBe('bert');
  });
});

describe('a recipe fitted to a network', () => {
  const fit = async (name: string | null, of: Looks) => {
    const base = name === null ? null : await loadRecipe(name);
    return adapt('mine', of, { ...recognize(of, recipes), recipe: name }, base);
  };

  it('scales sizes with the input', async () => {
    const { recipe } = await fit('mobilenet', looks(picture(160), [[1, 1000]]));
    expect(recipe.preprocess).toMatchObject({ resize: 183, crop: 160, layout: 'nchw' });
    const wide = await fit('mobilenet', looks([1, 3, 96, 160], [[1, 1000]]));
    expect(wide.recipe.preprocess).toMatchObject({ resize: [96, 160] });
    expect(wide.recipe.preprocess).not.toHaveProperty('crop');
    const boxes = await fit('yolox', looks(picture(640), [[1, 8400, 25]]));
    expect(boxes.recipe.preprocess?.letterbox).toMatchObject({ size: 640, pad: 114 });
    expect(boxes.recipe.metric).toMatchObject({ decode: 'yolox', classes: 20 });
  });

  it('takes channels and their order from the input', async () => {
    const { recipe } = await fit('resnet', looks([1, 64, 64, 1], [[1, 4]]));
    expect(recipe.preprocess).toMatchObject({ color: 'gray', layout: 'nhwc', mean: 114.495 });
    expect(recipe.metric).toMatchObject({ topk: [1] });
  });

  it('keeps what a free input does not say, and asks for arrays where there is no picture', async () => {
    const free = await fit('resnet', looks([null, 3, null, null], [[null, 1000]]));
    expect(free.recipe.preprocess).toMatchObject({ resize: 256, crop: 224 });
    expect(free.comments.get('preprocess')).toContain('--input-shape');
    const sound = await fit('keywords', looks([1, 490], [[1, 12]]));
    expect(sound.recipe.preprocess).toBeUndefined();
    expect(sound.checks.join()).toContain('x [1, 490]');
  });

  it('is a guess that says so where no family is near', async () => {
    const { recipe, comments } = await fit(null, looks(picture(256), [[1, 5, 256, 256]]));
    expect(recipe).toMatchObject({ preprocess: { std: 255 }, metric: { kind: 'segmentation', classes: 5 } });
    expect(comments.get('preprocess.mean')).toContain('please check');
  });

  it('is valid as it is written, comments included', async () => {
    const { recipe, comments } = await fit('yolov8', looks(picture(320), [[1, 84, 2100]]));
    const text = recipeYaml(recipe, ['Written by a test'], comments);
    expect(text).toMatch(/^# Written by a test\nname: mine\n/);
    expect(text).toContain('  # its input is 320 x 320\n  letterbox:\n');
    expect(parseYaml(text, 'mine.yaml', recipeSchema)).toEqual(recipeSchema.parse(recipe));
  });
});

describe('questions', () => {
  const usual = { color: 'rgb', mean: [1, 2, 3], std: 4, interpolation: 'bilinear', layout: 'nchw' } as const;
  const asked = async (answers: string): Promise<{ said: string[]; preprocess: unknown }> => {
    const said: string[] = [];
    const { ask, close } = askPeople(Readable.from([answers]), (line) => said.push(line));
    const preprocess = await askPreprocess({ ...usual, mean: [...usual.mean] }, ask);
    close();
    return { said, preprocess };
  };

  it('take what is usual for an empty line, for nobody and at the end of the input', async () => {
    expect((await asked('\n\n')).preprocess).toEqual(usual);
    expect((await asked('')).preprocess).toEqual(usual);
    expect(await askPreprocess({ ...usual, mean: [...usual.mean] }, askNobody)).toEqual(usual);
  });

  it('understand names and numbers, and ask again', async () => {
    const { said, preprocess } = await asked('rbg\nbgr\nwhatever\n103.5,116.3,123.7 57\n');
    expect(preprocess).toEqual({ ...usual, color: 'bgr', mean: [103.5, 116.3, 123.7], std: 57 });
    expect(said[1]).toMatch(/^Did you mean (rgb|bgr)\?/);
    expect(said[3]).toMatch(/^One of: imagenet/);
    expect((await asked('\n-1..1\n')).preprocess).toEqual({ ...usual, mean: 127.5, std: 127.5 });
  });
});

describe('dopt init', () => {
  it('never overwrites', async () => {
    const { initRecipe } = await import('./init.js');
    const folder = mkdtempSync(join(tmpdir(), 'dopt-init-'));
    try {
      const out = join(folder, 'there.yaml');
      const { writeFileSync } = await import('node:fs');
      writeFileSync(out, 'mine');
      const options = { model: 'net.onnx', out, ask: askNobody } as Parameters<typeof initRecipe>[0];
      await expect(initRecipe(options)).rejects.toMatchObject({ code: 'INIT_EXISTS' });
      expect(readFileSync(out, 'utf8')).toBe('mine');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
