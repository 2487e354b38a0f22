import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { metricSchema } from '../config/metric.js';
import { readLabels } from './labels.js';

const classification = metricSchema.parse({ kind: 'classification' });
const detection = metricSchema.parse({ kind: 'detection', classes: 3 });
const segmentation = metricSchema.parse({ kind: 'segmentation', classes: 3 });
const keys = (...names: string[]) => names.map((name, index) => ({ name, index }));

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dopt-labels-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function write(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  return path;
}

describe('classification labels', () => {
  it.each([
    ['labels.txt', '# classes\n\nsub/a b.png 3\r\nc.png\t1\n'],
    ['labels.csv', 'name,label\n"sub/a b.png",3\nc.png, 1\n'],
    ['labels.json', '{"sub/a b.png": 3, "c.png": "1"}'],
  ])('are read from %s', async (name, text) => {
    const labels = await readLabels(await write(name, text), classification, keys('c.png', 'sub/a b.png'));
    expect(labels).toEqual({ kind: 'classification', classes: [1, 3] });
  });

  it('are taken from an array by row', async () => {
    const path = await write('labels.json', '[5, 6, 7]');
    const labels = await readLabels(path, classification, [
      { name: 'x.npy#2', index: 2 },
      { name: 'x.npy#0', index: 0 },
    ]);
    expect(labels).toEqual({ kind: 'classification', classes: [7, 5] });
    await expect(readLabels(path, classification, [{ name: 'x', index: 3 }])).rejects.toMatchObject({
      code: 'LABELS_MISSING',
    });
  });

  it('are the sub-folders of a folder: in order, or their numbers', async () => {
    await write('cat/1.png', '');
    await write('ant/2.png', '');
    expect(await readLabels(folder, classification, keys('cat/1.png', 'ant/2.png'))).toMatchObject({
      classes: [1, 0],
    });
    await rm(folder, { recursive: true });
    await write('10/1.png', '');
    await write('007/2.png', '');
    expect(await readLabels(folder, classification, keys('10/1.png', '007/2.png'))).toMatchObject({
      classes: [10, 7],
    });
  });

  it('match by base name and without the extension, unless that is ambiguous', async () => {
    const path = await write('labels.txt', 'train/a.jpg 1\nb 2\n');
    expect(await readLabels(path, classification, keys('val/a.jpg', 'b.png'))).toMatchObject({
      classes: [1, 2],
    });
    const twice = await write('twice.txt', 'x/a.jpg 1\ny/a.jpg 2\n');
    await expect(readLabels(twice, classification, keys('z/a.jpg'))).rejects.toMatchObject({
      code: 'LABELS_MISSING',
    });
  });

  it('match by relative path without the extension where base names are taken twice', async () => {
    const path = await write('labels.csv', 'x/a.png,1\ny/a.png,2\n');
    expect(await readLabels(path, classification, keys('y/a.jpg', 'x/a.jpg'))).toMatchObject({
      classes: [2, 1],
    });
  });

  it('say which samples have none', async () => {
    const path = await write('labels.txt', 'a.png 1\n');
    await expect(readLabels(path, classification, keys('a.png', 'b.png', 'c.png'))).rejects.toMatchObject({
      code: 'LABELS_MISSING',
      exitCode: 3,
      message: expect.stringMatching(/2 of 3 samples: b\.png, c\.png/),
    });
  });

  it.each([
    ['labels.txt', 'a.png 1\nb.png cat\n', /:2/],
    ['labels.txt', 'a.png\n', /:1/],
    ['labels.csv', 'a.png,1\nb.png,-1\n', /:2/],
    ['labels.json', '{"a.png": 1.5}', /labels\.json$/],
    ['labels.json', '{', /labels\.json$/],
    ['labels.npy', 'no', /labels\.npy$/],
    ['empty.txt', '', /empty\.txt$/],
  ])('with a mistake name the place: %s %j', async (name, text, place) => {
    await expect(readLabels(await write(name, text), classification, keys('a.png'))).rejects.toMatchObject({
      code: 'LABELS_FORMAT',
      place: expect.stringMatching(place),
    });
  });

  it('that are not there are named', async () => {
    const path = join(folder, 'none.txt');
    await expect(readLabels(path, classification, [])).rejects.toMatchObject({
      code: 'LABELS_NOT_FOUND',
      place: path,
    });
  });
});

describe('detection labels', () => {
  it('are YOLO files; a picture without one has no objects', async () => {
    await write('labels/a.txt', '2 0.5 0.5 0.25 0.125\n\n0 0.1 0.1 0.1 0.1\n');
    const labels = await readLabels(join(folder, 'labels'), detection, keys('images/a.jpg', 'images/b.jpg'));
    expect(labels).toMatchObject({ boxes: [[{ class: 2, width: 0.25, height: 0.125 }, { class: 0 }], []] });
  });

  it.each(['3 .5 .5 .1 .1', '0 .5 .5 .1', '0 50 50 10 10', 'x .5 .5 .1 .1'])(
    'with the line %j are refused',
    async (line) => {
      await write('labels/a.txt', `0 .5 .5 .1 .1\n${line}\n`);
      await expect(readLabels(join(folder, 'labels'), detection, keys('a.jpg'))).rejects.toMatchObject({
        code: 'LABELS_FORMAT',
        place: expect.stringMatching(/a\.txt:2$/),
      });
    },
  );

  it('for other pictures altogether are refused', async () => {
    await write('labels/z.txt', '');
    await expect(readLabels(join(folder, 'labels'), detection, keys('a.jpg'))).rejects.toMatchObject({
      code: 'LABELS_MISSING',
    });
  });
});

describe('COCO annotations', () => {
  const dataset = {
    images: [
      { id: 7, file_name: 'a.jpg' },
      { id: 9, file_name: 'b.jpg' },
    ],
    annotations: [
      { id: 1, image_id: 9, category_id: 3, bbox: [1, 2, 30, 40], area: 600, iscrowd: 0 },
      { id: 2, image_id: 9, category_id: 90, bbox: [0, 0, 5, 5], iscrowd: 1 },
    ],
    categories: [{ id: 90 }, { id: 3 }, { id: 17 }],
  };

  it('give boxes in pixels, classes in the order of the ids, crowds', async () => {
    const path = await write('instances.json', JSON.stringify(dataset));
    expect(await readLabels(path, detection, keys('b.jpg', 'a.jpg'))).toEqual({
      kind: 'detection',
      boxes: [
        [
          { class: 0, x: 1, y: 2, width: 30, height: 40, unit: 'pixel', area: 600, ignored: false },
          { class: 2, x: 0, y: 0, width: 5, height: 5, unit: 'pixel', area: null, ignored: true },
        ],
        [],
      ],
    });
  });

  it.each([
    ['a picture without an entry', keys('c.jpg'), dataset, 'LABELS_MISSING'],
    ['no annotations', keys('a.jpg'), { ...dataset, annotations: undefined }, 'LABELS_FORMAT'],
    ['an unknown category', keys('a.jpg'), { ...dataset, categories: [{ id: 3 }] }, 'LABELS_FORMAT'],
  ])('are refused with %s', async (_, samples, content, code) => {
    const path = await write('instances.json', JSON.stringify(content));
    await expect(readLabels(path, detection, samples)).rejects.toMatchObject({ code, place: path });
  });

  it('are refused with more classes than the metric has', async () => {
    const path = await write('instances.json', JSON.stringify(dataset));
    const two = metricSchema.parse({ kind: 'detection', classes: 2 });
    await expect(readLabels(path, two, keys('b.jpg'))).rejects.toMatchObject({ code: 'LABEL_RANGE' });
  });
});

describe('WIDER FACE annotations', () => {
  const text =
    '0--Parade/a.jpg\n2\n10 20 30 40 0 0 0 0 0 0 \n1 2 3 4 0 0 0 1 2 0 \n' +
    '0--Parade/none.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n1--Other/b.jpg\n1\n5 6 7 8 0 0 0 0 0 0\n';

  it('give faces, invalid ones ignored', async () => {
    const path = await write('wider_face_val_bbx_gt.txt', text);
    const labels = await readLabels(path, detection, keys('1--Other/b.jpg', 'none.jpg', '0--Parade/a.jpg'));
    const common = { class: 0, unit: 'pixel', area: null };
    expect(labels).toEqual({
      kind: 'detection',
      boxes: [
        [{ ...common, x: 5, y: 6, width: 7, height: 8, ignored: false }],
        [],
        [
          { ...common, x: 10, y: 20, width: 30, height: 40, ignored: false },
          { ...common, x: 1, y: 2, width: 3, height: 4, ignored: true },
        ],
      ],
    });
  });

  it.each([
    ['a.jpg\n1 2 3 4\n', /:2$/],
    ['a.jpg\n1\nx 2 3 4\n', /:3$/],
    ['a.jpg\n2\n1 2 3 4', /:3$/],
    ['', /gt\.txt$/],
  ])('with a mistake name the line: %j', async (content, place) => {
    const path = await write('gt.txt', content);
    await expect(readLabels(path, detection, keys('a.jpg'))).rejects.toMatchObject({
      code: 'LABELS_FORMAT',
      place: expect.stringMatching(place),
    });
  });
});

describe('labels by the names of classes', () => {
  const named = metricSchema.parse({ kind: 'classification', names: ['_silence_', 'yes', 'no'] });

  it('are numbered in the order of the model', async () => {
    const path = await write('labels.csv', 'file,word\na.npy,no\nb.npy,yes\nc.npy,0\n');
    expect(await readLabels(path, named, keys('a.npy', 'b.npy', 'c.npy'))).toMatchObject({
      classes: [2, 1, 0],
    });
    await write('clips/no/a.wav', '');
    await write('clips/yes/b.wav', '');
    await write('clips/_silence_/c.wav', '');
    const samples = keys('yes/b.npy', 'no/a.npy', '_silence_/c.npy');
    expect(await readLabels(join(folder, 'clips'), named, samples)).toMatchObject({ classes: [1, 2, 0] });
  });

  it('that the model does not have are refused', async () => {
    await write('clips/maybe/a.wav', '');
    await expect(readLabels(join(folder, 'clips'), named, keys('maybe/a.npy'))).rejects.toMatchObject({
      code: 'LABELS_MISSING',
    });
    const path = await write('labels.txt', 'a.npy 1\nb.npy maybe\n');
    await expect(readLabels(path, named, keys('a.npy', 'b.npy'))).rejects.toMatchObject({
      code: 'LABELS_FORMAT',
      place: `${path}:2`,
    });
  });
});

describe('labels of sequences', () => {
  const tokens = metricSchema.parse({ kind: 'tokens' });

  it('are a file a sample, or rows of one file', async () => {
    const a = await write('ids/x/a.npy', '');
    expect(await readLabels(join(folder, 'ids'), tokens, keys('x/a.npy'))).toEqual({
      kind: 'tokens',
      files: [{ path: a, row: null }],
    });
    expect(await readLabels(a, tokens, [{ name: 'a.npy#4', index: 4 }])).toEqual({
      kind: 'tokens',
      files: [{ path: a, row: 4 }],
    });
  });
});

describe("labels of a user's metric", () => {
  const user = metricSchema.parse({ kind: 'user', file: 'metric.py' });
  const read = async (name: string, text: string, samples = keys('b.png', 'a.png')) =>
    readLabels(await write(name, text), user, samples);

  it.each([
    ['labels.txt', 'a.png cat\nb.png 1.5\n', [1.5, 'cat']],
    ['labels.json', '{"a.png": {"x": [1, null]}, "b.png": "2"}', [2, { x: [1, null] }]],
    ['labels.json', '[[1, 2], "no"]', [[1, 2], 'no']],
  ])('are the values of %s as they are: %s', async (name, text, values) => {
    expect(await read(name, text)).toEqual({ kind: 'user', labels: { values } });
  });

  it('are paths, whatever the ending, or rows for numpy', async () => {
    const [a, b] = [await write('labels/s/a.xml', ''), await write('labels/b.mat', '')];
    expect(await readLabels(join(folder, 'labels'), user, keys('s/a.png', 'b.png'))).toEqual({
      kind: 'user',
      labels: { files: [a, b] },
    });
    const array = await write('labels.npy', '');
    expect(await readLabels(array, user, [{ name: 'x#3', index: 3 }])).toEqual({
      kind: 'user',
      labels: { array, rows: [3] },
    });
  });
});

describe('segmentation labels', () => {
  it('are one file a picture', async () => {
    const a = await write('labels/a.png', '');
    expect(await readLabels(join(folder, 'labels'), segmentation, keys('a.jpg'))).toEqual({
      kind: 'segmentation',
      files: [a],
    });
    await expect(readLabels(a, segmentation, keys('a.jpg'))).rejects.toMatchObject({ code: 'LABELS_FORMAT' });
  });
});
