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
