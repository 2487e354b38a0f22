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
const ofPage = (page: string): Snippet[] => runnable.filter((snippet) => snippet.page === page);

/** Snippets without the commands that were run elsewhere, and without those of which nothing is left. */
function without(elsewhere: readonly Snippet[], unit: readonly Snippet[]): Snippet[] {
  const done = new Set(elsewhere.flatMap(({ text }) => commandLines(text).map(sameWay)));
  const isDone = (line: string): boolean => done.has(sameWay(line));
  return unit.flatMap((snippet) => {
    const lines = snippet.python ? [] : commandLines(snippet.text);
    if (!lines.some(isDone)) return [snippet];
    const rest = lines.filter((line) => !isDone(line));
    return rest.length > 0 ? [{ ...snippet, text: rest.join('\n') }] : [];
  });
}

// A page is one after the other; what the README did is there. Examples of commands stand alone.
const others = pages.filter((page) => page !== FIRST).map((page) => without(ofPage(FIRST), ofPage(page)));
const examples = without(pages.flatMap(ofPage), ofPage(REFERENCE)).map((snippet) => [snippet]);
const units = new Map(
  [...others, ...examples].filter((unit) => unit.length > 0).map((unit) => [placeOf(unit[0]!), unit]),
);

function placeOf({ page, line }: Snippet): string {
  return page === REFERENCE ? `${page}:${line}` : page;
}

/** Seconds for the longest page on a quiet machine, minutes on a busy one. */
const LONG = { timeout: 900_000 };

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
  await runAll(user.folder, ofPage(FIRST));
}, LONG.timeout);
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('commands of the documentation', () => {
  it.concurrent.for([...units.keys()])('%s, one after the other as they stand', LONG, async (name) => {
    const unit = units.get(name)!;
    const folder = join(root, name.replace(/[^\w.-]/g, '-'));
    mkdirSync(folder);
    copyUserFolder(user, folder, unit.map(({ text }) => text).join('\n'));
    await runAll(folder, unit);
    rmSync(folder, { recursive: true });
  });

  it('are not said to be run where none is', () => {
    expect(ofPage(FIRST).length).toBeGreaterThan(4);
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
