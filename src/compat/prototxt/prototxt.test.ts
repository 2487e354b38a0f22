import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { readPrototxt } from './message.js';
import { parsePrototxt } from './parser.js';
import type { Message } from './tree.js';

/** A message as nested lists of [name, value]. */
const plain = ({ fields }: Message): unknown[] =>
  fields.map(({ name, value }) => [name, value.kind === 'message' ? plain(value) : value.value]);

const parse = (text: string): unknown => {
  const { message, problems } = parsePrototxt(text);
  return message ? plain(message) : problems.map(({ line, column }) => `${line}:${column}`);
};

const problem = (text: string) => parsePrototxt(text).problems[0]!;

describe('parsePrototxt', () => {
  it.each([
    [
      'a: 1 b: 2',
      [
        ['a', 1],
        ['b', 2],
      ],
    ],
    [
      'a: 1; b: 2, c { d: 3 }',
      [
        ['a', 1],
        ['b', 2],
        ['c', [['d', 3]]],
      ],
    ],
    ['a: { b < c: X > }', [['a', [['b', [['c', 'X']]]]]]],
    [
      'a: [1, 2.5, -3e2] a: []',
      [
        ['a', 1],
        ['a', 2.5],
        ['a', -300],
      ],
    ],
    [`a: "x" 'y' "\\n\\x41\\101"`, [['a', 'xy\nAA']]],
    ['# one\na: 1 // two\n//three\n', [['a', 1]]],
    [
      '\ufeffa: 1\r\nb: 0x1F\r\n',
      [
        ['a', 1],
        ['b', 31],
      ],
    ],
    [
      'a: 1.5f b: - 2 c: .5 d: -inf',
      [
        ['a', 1.5],
        ['b', -2],
        ['c', 0.5],
        ['d', Number.NEGATIVE_INFINITY],
      ],
    ],
    ['a: "http://x#y"', [['a', 'http://x#y']]],
    ['strategy: Quant_INT8-8', [['strategy', 'Quant_INT8-8']]],
    ['', []],
  ])('reads %j', (text, expected) => {
    expect(parse(text)).toEqual(expected);
  });

  it('knows the place of every name and value', () => {
    const { message } = parsePrototxt('\ufeffa: 1\r\n  b {\r\n    c: "x"\r\n  }');
    const [a, b] = message!.fields;
    expect([a!.place, a!.value.place]).toEqual([
      { line: 1, column: 1 },
      { line: 1, column: 4 },
    ]);
    expect([b!.place, b!.value.place]).toEqual([
      { line: 2, column: 3 },
      { line: 2, column: 5 },
    ]);
    expect((b!.value as Message).fields[0]!.value.place).toEqual({ line: 3, column: 8 });
  });

  it.each([
    ['a: {\n b: 1\n', '1:4', /opens \{ that is not closed/],
    ['a: [1, 2', '1:4', /opens \[ that is not closed/],
    ['a: 1\n}', '2:1', /closes \} that was not opened/],
    ['a: { b: 1 >', '1:11', /closes > that was not opened/],
    ['a: "x\nb: 1', '1:4', /opens text with " that is not closed/],
    ['a 1', '1:3', /lacks the colon behind a/],
    ['a: ', '1:4', /lacks a value for a/],
    [': 1', '1:1', /lacks the name of a setting/],
    ['a: 12px', '1:4', /neither a number nor a name/],
    ['a: /data/x', '1:4', /a path needs quotes/],
    ['a: "\\q"', '1:5', /begins no known escape/],
    ['a: \u0007', '1:4', /U\+0007/],
    ['a: {'.repeat(40), '1:132', /nested too deeply/],
  ])('names the place in %j', (text, place, message) => {
    const { line, column, ...found } = problem(text);
    expect(`${line}:${column}`).toBe(place);
    expect(found.message).toMatch(message);
  });

  it('names all full-width punctuation at once, each with the ASCII character', () => {
    const { problems } = parsePrototxt('a： “x”\nb｛c: 1，d: 2；｝');
    expect(problems.map(({ line, column, message }) => [line, column, message.split('ASCII ')[1]])).toEqual([
      [1, 2, ': is meant'],
      [1, 4, '" is meant'],
      [1, 6, '" is meant'],
      [2, 2, '{ is meant'],
      [2, 7, ', is meant'],
      [2, 12, '; is meant'],
      [2, 13, '} is meant'],
    ]);
  });

  it('leaves full-width punctuation in quotes and comments alone', () => {
    expect(parse('// ：“\na: "：，；“”" # ｝')).toEqual([['a', '：，；“”']]);
  });

  it('points at the full-width quote that was meant to close a text', () => {
    expect(problem('a: "x”\n').suggestions![0]).toContain('Line 1, column 6');
  });
});

const schema = z.strictObject({
  name: z.string().default('none'),
  kind: z.enum(['ONE', 'TWO']).default('ONE'),
  inner: z
    .array(z.strictObject({ size: z.number().positive(), list: z.array(z.string()).default([]) }))
    .default([]),
  single: z.strictObject({ on: z.number() }).optional(),
});

const refusal = (text: string): UserError => {
  try {
    readPrototxt(text, 'c.prototxt', schema);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return error as UserError;
  }
  throw new Error('was read');
};

describe('readPrototxt', () => {
  it('gathers repeated fields and fills in defaults', () => {
    const { value, placeOf } = readPrototxt(
      'inner { size: 1 list: "a" list: ["b", "c"] }\ninner: [{ size: 2 }]',
      'c.prototxt',
      schema,
    );
    expect(value).toEqual({
      name: 'none',
      kind: 'ONE',
      inner: [
        { size: 1, list: ['a', 'b', 'c'] },
        { size: 2, list: [] },
      ],
    });
    expect(placeOf('inner', 1)).toEqual({ line: 2, column: 9 });
    expect(placeOf('inner', 0, 'list', 1)).toEqual({ line: 1, column: 34 });
    expect(placeOf('inner', 1, 'list')).toEqual(placeOf('inner', 1));
  });

  it.each([
    ['nmae: "x"', '1:1', /unknown setting: nmae/, 'Did you mean name?'],
    ['inner {\n sise: 1 size: 1\n}', '2:2', /unknown setting in inner: sise/, 'Did you mean size?'],
    ['kind: ON', '1:7', /wrong value for kind/, 'Did you mean ONE?'],
    ['name: bare', '1:7', /name without quotes/, 'Write name: "bare"'],
    ['name: "a"\nname: "b"', '2:1', /gives name twice; line 1/, undefined],
    ['inner { }', '1:7', /lacks the setting inner.size/, undefined],
    ['inner { size: 0 }', '1:15', /wrong value for inner.size/, undefined],
    ['inner { size: "1" }', '1:15', /wrong value for inner.size/, undefined],
    ['inner: 3', '1:8', /wrong value for inner/, undefined],
    ['name { }', '1:6', /wrong value for name/, undefined],
    ['inner { size: nan }', '1:15', /wrong value for inner.size/, undefined],
  ])('refuses %j', (text, place, message, advice) => {
    const error = refusal(text);
    expect(error.place).toBe(`c.prototxt:${place}`);
    expect(error.message).toMatch(message);
    expect(error.message.split('\n')).toHaveLength(1);
    if (advice) expect(error.suggestions).toContain(advice);
  });

  it('lists everything that is wrong', () => {
    expect(refusal('a: 1\nkind: X\nsingle { on: "x" }').message.split('\n')).toHaveLength(3);
  });
});

describe('fuzz', () => {
  const GOOD = 'name: "x" # c\nkind: TWO\ninner: { size: 1.5, list: ["a", \'b\'] }\nsingle < on: -2 >;';
  const onlyUserErrors = (text: string): void => {
    try {
      readPrototxt(text, 'c.prototxt', schema);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      expect(error.place).toMatch(/^c\.prototxt:[1-9]\d*:[1-9]\d*$/);
    }
  };

  it('any text is read or refused with a place', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), onlyUserErrors), { numRuns: 2000 });
  });

  it('so is any sequence of words that the format knows', () => {
    const words = [
      'name',
      'inner',
      'size',
      ':',
      '{',
      '}',
      '[',
      ']',
      '<',
      '>',
      ',',
      ';',
      '"',
      "'",
      '1',
      '-',
      '\n',
      ' ',
    ];
    const unit = fc.constantFrom(...words, '“', '：', '#', '//', '\\', '__proto__', 'constructor');
    fc.assert(fc.property(fc.string({ unit, maxLength: 60 }), onlyUserErrors), { numRuns: 3000 });
  });

  it('so is a good file with pieces cut out, doubled or replaced', () => {
    const edit = fc.tuple(fc.nat(GOOD.length), fc.nat(8), fc.string({ maxLength: 4 }));
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        onlyUserErrors(
          edits.reduce((text, [at, length, put]) => text.slice(0, at) + put + text.slice(at + length), GOOD),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it('text that the reader writes comes back the same', () => {
    const quote = (text: string): string =>
      `"${text.replace(/[\\"\n]/g, (found) => (found === '\n' ? '\\n' : `\\${found}`))}"`;
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.double({ noNaN: true }), (text, number) => {
        expect(parse(`a: ${quote(text)} b: ${number === Number.POSITIVE_INFINITY ? 'inf' : number}`)).toEqual(
          [
            ['a', text],
            ['b', number === 0 ? expect.closeTo(0) : number],
          ],
        );
      }),
    );
  });

  it('stays fast on large files', () => {
    const many = 'exclude_op: "a"\n'.repeat(60_000);
    expect(problem(many).message).toBe('holds too much to be a configuration');
    expect(parsePrototxt('？'.repeat(300_000)).problems.length).toBeLessThan(200);
    expect(problem('['.repeat(1000)).message).toMatch(/lacks/);
    expect(problem('a:<'.repeat(30_000)).message).toBe('is nested too deeply');
  });
});
