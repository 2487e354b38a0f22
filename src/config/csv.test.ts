import { describe, expect, it } from 'vitest';
import { errorOf } from '../../test/helpers/plan.js';
import { type CsvKind, parseCsv } from './csv.js';

const KIND: CsvKind = {
  code: 'TABLE_INVALID',
  never: 'no table',
  advice: 'Give a table.',
  check: 'Mend it.',
};
const table = (text: string) => parseCsv(text, 't.csv', KIND);
const texts = (text: string): string[][] => table(text).rows.map((row) => row.map((cell) => cell.text));

describe('CSV', () => {
  it('leaves out comments and empty lines, and keeps places', () => {
    const { heads, rows } = table('# about\n\na,b\r\n1, two \r\n# more\n3,"x, ""y""\nz"\n4,\n');
    expect(heads.map(({ text }) => text)).toEqual(['a', 'b']);
    expect(rows.map((row) => row.map(({ text }) => text))).toEqual([
      ['1', 'two'],
      ['3', 'x, "y"\nz'],
      ['4', ''],
    ]);
    expect(rows[0]![1]).toMatchObject({ line: 4, column: 3 });
    expect(rows[2]![0]).toMatchObject({ line: 8, column: 1 });
  });

  it('takes a byte order mark and a last line without an end', () => {
    expect(texts('\uFEFFa\n"b"')).toEqual([['b']]);
  });

  it.for<[string, string, string]>([
    ['', 't.csv:1:1', 'holds no table'],
    ['a,b\n1\n', 't.csv:2:1', 'has 1 cells'],
    ['a,b\n1,2,3\n', 't.csv:2:3', 'has 3 cells'],
    ['a,b\n1,"open\n', 't.csv:2:3', 'never closed'],
    ['a,b\n1,"x"y\n', 't.csv:2:6', 'behind a closing quote'],
  ])('refuses %j at %s', ([text, place, message]) => {
    const error = errorOf(() => table(text));
    expect(error).toMatchObject({ code: 'TABLE_INVALID', place });
    expect(error.message).toContain(message);
  });
});
