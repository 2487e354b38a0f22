import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT, UserError } from '../errors.js';
import { listRecipes, recipeSchema } from './recipe.js';
import { MAX_TEXT_BYTES } from './text-file.js';
import { parseYaml, readYaml } from './yaml.js';

const HEAD = 'name: mine\nfamily: test\ndescription: for tests\n';

const parse = (text: string): unknown => parseYaml(text, 'my.yaml', recipeSchema);

/** The error of a text that must be refused. */
function refusal(text: string): UserError {
  try {
    parse(text);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({ code: 'RECIPE_INVALID', exitCode: EXIT.invalidInput });
    return error as UserError;
  }
  throw new Error(`accepted: ${text}`);
}

describe('a wrong file is refused with its place', () => {
  it.each([
    ['syntax', 'name: [a\nfamily: b\n', 'my.yaml:2:1', /not valid YAML/],
    ['a key twice', 'name: a\nname: b\n', 'my.yaml:2:1', /unique/],
    ['two documents', `${HEAD}---\n${HEAD}`, 'my.yaml:4:1', /multiple documents/],
    ['an unknown tag', `${HEAD}exclude: !node [a]\n`, 'my.yaml:4:10', /Unresolved tag/],
    ['nothing', '# only a comment\n', 'my.yaml:1:1', /no settings/],
    ['an absent setting', 'name: a\nfamily: b\n', 'my.yaml:1:1', /lacks the setting description/],
    ['a setting without value', `${HEAD}metric:\n`, 'my.yaml:4:8', /wrong value for metric/],
    ['a value outside its range', `${HEAD}preprocess:\n  std: 0\n`, 'my.yaml:5:8', /preprocess\.std/],
    ['not a number', `${HEAD}preprocess:\n  mean: .nan\n`, 'my.yaml:5:9', /preprocess\.mean/],
    [
      'an item of a list',
      `${HEAD}exclude:\n  - conv1\n  - {a: 1}\n`,
      'my.yaml:6:5',
      /wrong value for exclude\.1/,
    ],
    ['an alias without anchor', `${HEAD}exclude: [a, *b]\n`, 'my.yaml:4:14', /Unresolved alias/],
    ['an alias of itself', `${HEAD}exclude: &a [*a]\n`, 'my.yaml:4:14', /exclude\.0|aliases/],
    ['a prototype', `${HEAD}__proto__: {a: 1}\n`, 'my.yaml:4:1', /unknown setting: __proto__/],
    [
      'a letterbox beside a resize',
      `${HEAD}preprocess:\n  resize: 8\n  letterbox: {size: 8}\n`,
      'my.yaml:6:14',
      /letterbox/,
    ],
    ['means of two channels', `${HEAD}preprocess:\n  mean: [1, 2]\n`, 'my.yaml:5:9', /preprocess\.mean/],
    [
      'a crop beyond the picture',
      `${HEAD}preprocess:\n  resize: [200, 300]\n  crop: 224\n`,
      'my.yaml:6:9',
      /preprocess\.crop/,
    ],
  ])('%s', (_name, text, place, message) => {
    const error = refusal(text);
    expect(error.message).toMatch(message);
    expect(error.place).toBe(place);
  });

  it('an unknown key, with the one that was meant', () => {
    const error = refusal(`${HEAD}preprocess:\n  letterbox:\n    size: 416\n    padd: 114\n`);
    expect(error.place).toBe('my.yaml:7:5');
    expect(error.message).toContain('unknown setting in preprocess.letterbox: padd');
    expect(error.suggestions[0]).toBe('Did you mean pad?');
    expect(error.expected).toBe('size, pad, align');
  });

  it('an unknown word, with the one that was meant', () => {
    const error = refusal(`${HEAD}metric: {kind: segmentaton, classes: 3}\n`);
    expect(error).toMatchObject({
      place: 'my.yaml:4:16',
      found: 'segmentaton',
      expected: 'one of classification, segmentation, detection, image, tokens, user',
    });
    expect(error.suggestions[0]).toBe('Did you mean segmentation?');
  });

  it('values that may be of two kinds, both of them named', () => {
    expect(refusal(`${HEAD}preprocess: {resize: big}\n`)).toMatchObject({
      expected: 'a number, or a pair in brackets',
      found: 'big',
    });
  });

  it('all that is wrong, in the order of the file', () => {
    const { message } = refusal(`${HEAD}preprocess:\n  colour: rgb\n  std: -1\ncalibraton: {}\n`);
    const places = [...message.matchAll(/my\.yaml:\d+:\d+/g)].map(([place]) => place);
    expect(places).toEqual(['my.yaml:5:3', 'my.yaml:6:8', 'my.yaml:7:1']);
  });
});

describe('files made to exhaust their reader', () => {
  // 10^6 items at the end, each level ten times the one before.
  const bomb = ['a: &a [x, x, x, x, x, x, x, x, x, x]', 'b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]']
    .concat('c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]', 'd: [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]')
    .join('\n');

  it.each([
    ['aliases that multiply', bomb, /aliases/],
    ['open brackets', '['.repeat(900_000), /nested/],
    ['open maps', '{a: '.repeat(200_000), /nested/],
    ['dashes in a row', '- '.repeat(400_000), /nested/],
    ['deep indentation', Array.from({ length: 1000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), /nested/],
    ['very many keys', Array.from({ length: 60_000 }, (_, i) => `k${i}: 1`).join('\n'), /too much/],
    ['very many documents', '---\n'.repeat(200_000), /too much/],
  ])('%s', (_name, text, message) => {
    const start = performance.now();
    expect(refusal(text).message).toMatch(message);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe('reading files', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dopt-yaml-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const read = async (name: string, content: string | Uint8Array): Promise<unknown> => {
    await writeFile(join(folder, name), content);
    return readYaml(join(folder, name), recipeSchema);
  };

  it('takes a byte order mark and the line ends of Windows', async () => {
    expect(await read('windows.yaml', `\uFEFF${HEAD.replaceAll('\n', '\r\n')}`)).toMatchObject({
      name: 'mine',
      description: 'for tests',
    });
  });

  it.each([
    ['large.yaml', `${HEAD}${'# long\n'.repeat(MAX_TEXT_BYTES / 7)}`, /larger than 1 MB/],
    ['latin1.yaml', Buffer.from(`${HEAD}# caf\u00e9\n`, 'latin1'), /not UTF-8/],
    ['binary.yaml', Uint8Array.from({ length: 300 }, (_, i) => i), /not UTF-8/],
  ])('refuses %s', async (name, content, message) => {
    await expect(read(name, content)).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringMatching(message),
      place: join(folder, name),
    });
  });

  it('refuses what is not there, and a folder', async () => {
    await expect(readYaml(join(folder, 'no.yaml'), recipeSchema)).rejects.toThrow(/no\.yaml does not exist/);
    await expect(readYaml(folder, recipeSchema)).rejects.toThrow(/is a folder/);
  });
});

describe('mutated recipes', () => {
  it('are read or refused as the user’s error, never anything else', async () => {
    const { readFile } = await import('node:fs/promises');
    const texts = await Promise.all((await listRecipes()).map(({ file }) => readFile(file, 'utf8')));
    const fragments = [
      '*a',
      '&a ',
      '<<: *a\n',
      '!!binary ',
      '---\n',
      '...\n',
      '|\n',
      '>-\n',
      '? ',
      '- ',
      ': ',
      '{',
      ']',
    ].concat(
      '"',
      "'",
      '\t',
      '\r',
      '\u0000',
      '\u2028',
      '%YAML 1.1\n',
      '.inf',
      '1e999',
      '0x',
      '~',
      '#',
      '\n  ',
      ',',
    );
    const mutation = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      removed: fc.nat(8),
      added: fc.oneof(
        fc.constantFrom(...fragments),
        fc.string({ unit: 'binary', maxLength: 4 }),
        fc.constant(''),
      ),
    });
    let refused = 0;
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...texts),
        fc.array(mutation, { minLength: 1, maxLength: 2 }),
        (text, list) => {
          const mutant = list.reduce((before, { at, removed, added }) => {
            const from = Math.floor(at * before.length);
            return before.slice(0, from) + added + before.slice(from + removed);
          }, text);
          try {
            recipeSchema.parse(parse(mutant));
            accepted++;
          } catch (error) {
            refused++;
            expect(error).toBeInstanceOf(UserError);
            expect((error as UserError).place).toMatch(/^my\.yaml:[1-9]\d*:[1-9]\d*$/);
          }
        },
      ),
      { numRuns: 2500, seed: 11 },
    );
    // A test that only ever saw one side would show nothing.
    expect(refused).toBeGreaterThan(500);
    expect(accepted).toBeGreaterThan(100);
  });
});
