import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import { parseRunLine, readRunFile } from './run-file.js';

const schema = z.strictObject({ version: z.literal(1), scores: z.array(z.number()) });
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-run-file-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function read(text: string): unknown {
  const path = join(folder, 'x.json');
  writeFileSync(path, text);
  return readRunFile(path, schema);
}

it('gives what the file holds', () => {
  expect(read('{"version":1,"scores":[0.5]}')).toEqual({ version: 1, scores: [0.5] });
});

it.each([
  ['a file that was cut', '{"version":1,"sco', /x\.json: Unterminated string|x\.json: .*JSON/],
  ['another version', '{"version":2,"scores":[]}', /x\.json: version: /],
  ['a value of another type', '{"version":1,"scores":["a"]}', /x\.json: scores\.0: /],
  ['another file', '[]', /x\.json: Invalid input: expected object/],
])('names the file and the place of %s', (_, text, message) => {
  expect(() => read(text)).toThrow(
    expect.objectContaining({
      code: 'RUN_FILE',
      kind: 'user',
      message: expect.stringMatching(message),
      place: join(folder, 'x.json'),
    }),
  );
});

it('refuses a file that is not there', () => {
  expect(() => readRunFile(join(folder, 'none.json'), schema)).toThrow(
    expect.objectContaining({ code: 'RUN_FILE' }),
  );
});

it('names the line of a file of lines', () => {
  expect(() => parseRunLine('{', 'tries.ndjson:3', schema)).toThrow(
    expect.objectContaining({ code: 'RUN_FILE', place: 'tries.ndjson:3' }),
  );
});
