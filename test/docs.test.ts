import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allSnippets, commandLines, type Snippet, sameWay } from '../scripts/reference/snippets.js';
import { ROOT } from './helpers/cli.js';
import { python } from './helpers/exports.js';
import { copyUserFolder, runSnippet, type UserFolder, writeUserFolder } from './helpers/user-folder.js';

const snippets = allSnippets(ROOT);
const REFERENCE = 'docs/reference/commands.md';
const FIRST = 'README.md';

const runnable = snippets.filter(({ run }) => run);
const pages = [...new Set(runnable.map(({ page }) => page))].filter((page) => page !== REFERENCE);
const units = new Map(pages.map((page) => [page, runnable.filter((snippet) => snippet.page === page)]));

// Examples of commands stand alone; those that another page has were run there.
const elsewhere = new Set([...units.values()].flat().flatMap(({ text }) => commandLines(text).map(sameWay)));
for (const snippet of runnable.filter(({ page }) => page === REFERENCE)) {
  const text = commandLines(snippet.text)
    .filter((line) => !elsewhere.has(sameWay(line)))
    .join('\n');
  if (text !== '') units.set(`${REFERENCE}:${snippet.line}`, [{ ...snippet, text }]);
}

let root: string;
let user: UserFolder;

async function runAll(folder: string, unit: readonly Snippet[]): Promise<void> {
  for (const snippet of unit) await runSnippet(folder, snippet);
}

// What the README makes is what other pages begin with.
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'dopt-docs-'));
  user = await writeUserFolder(
    join(root, 'user'),
    snippets.filter(({ file }) => file),
  );
  await runAll(user.folder, units.get(FIRST)!);
}, 900_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('commands of the documentation', () => {
  const others = [...units.keys()].filter((name) => name !== FIRST);
  it.concurrent.for(others)('%s, one after the other as they stand', async (name) => {
    const unit = units.get(name)!;
    const folder = join(root, String(others.indexOf(name)));
    mkdirSync(folder);
    copyUserFolder(user, folder, unit.map(({ text }) => text).join('\n'));
    await runAll(folder, unit);
    rmSync(folder, { recursive: true });
  });

  it('are not said to be run where none is', () => {
    expect(units.get(FIRST)!.length).toBeGreaterThan(4);
    expect(units.size).toBeGreaterThan(40);
  });

  it('have Python that can be read', async () => {
    const texts = snippets.filter((snippet) => snippet.python).map(({ text }) => text);
    expect(texts.length).toBeGreaterThan(4);
    await python([
      '-c',
      'import ast, json, sys; [ast.parse(text) for text in json.loads(sys.argv[1])]',
      JSON.stringify(texts),
    ]);
  });
});
