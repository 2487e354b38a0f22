import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import { Journal } from './journal.js';

let folder: string;
let path: string;
const open = (fresh = false): Journal<{ error: number }> =>
  Journal.open(path, z.strictObject({ error: z.number() }), fresh);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-journal-'));
  path = join(folder, 'journal.ndjson');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('knows what was recorded, also when it is opened again', () => {
  const journal = open();
  journal.record('a', { error: 1 });
  journal.record('b', { error: 2 });
  expect(journal.get('a')).toEqual({ error: 1 });
  const again = open();
  expect([again.get('a'), again.get('b'), again.get('c')]).toEqual([{ error: 1 }, { error: 2 }, undefined]);
});

it('drops a line that a kill has torn, and goes on behind the last whole one', () => {
  open().record('a', { error: 1 });
  appendFileSync(path, '{"key":"b","entry":{"err');
  const again = open();
  expect(again.get('b')).toBeUndefined();
  again.record('c', { error: 3 });
  expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(3);
  expect(open().get('c')).toEqual({ error: 3 });
});

it('begins anew when told to', () => {
  open().record('a', { error: 1 });
  expect(open(true).get('a')).toBeUndefined();
  expect(open().get('a')).toBeUndefined();
});
