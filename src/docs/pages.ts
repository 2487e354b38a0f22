import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';

/** A page of the documentation. */
export interface DocsPage {
  /** Path below docs/ without its ending, as `dopt docs` takes it: "how-to/add-a-pass". */
  topic: string;
  title: string;
  file: string;
}

/** The folder of the documentation, from src/ and from dist/ alike. */
const folder = (): string => fileURLToPath(new URL('../../docs', import.meta.url));

const ERRORS = 'reference/errors';

/** All pages, those that a stranger reads first in front. */
export async function listPages(): Promise<DocsPage[]> {
  const files = (await readdir(folder(), { recursive: true })).filter((file) => file.endsWith('.md'));
  const pages = await Promise.all(
    files.map(async (name): Promise<DocsPage> => {
      const file = join(folder(), name);
      return { topic: name.replace(/\.md$/, ''), title: titleOf(await readFile(file, 'utf8')), file };
    }),
  );
  return pages.sort((a, b) => order(a.topic) - order(b.topic) || (a.topic < b.topic ? -1 : 1));
}

/** The index, then pages, then folders of pages; decisions, which are for those who change dopt, last. */
const order = (topic: string): number =>
  topic === 'README'
    ? 0
    : topic === 'get-started'
      ? 1
      : topic.startsWith('decisions/')
        ? 4
        : topic.includes('/')
          ? 3
          : 2;

const titleOf = (text: string): string => /^# +(.+)$/m.exec(text)?.[1] ?? '';

/**
 * Text of a page by its topic ("quantize", "add-a-pass", "reference/files"), or of the entry of an error by its code.
 *
 * Throws UserError DOCS_UNKNOWN, with near matches.
 */
export async function readTopic(topic: string): Promise<DocsPage & { text: string }> {
  const pages = await listPages();
  const wanted = topic.replace(/^docs\//, '').replace(/\.md$/, '');
  const page =
    pages.find((one) => one.topic === wanted) ?? pages.find((one) => one.topic.split('/').at(-1) === wanted);
  if (page) return { ...page, text: await readFile(page.file, 'utf8') };
  const errors = pages.find((one) => one.topic === ERRORS);
  const entries = errors ? sections(await readFile(errors.file, 'utf8')) : new Map<string, string>();
  const entry = entries.get(wanted.toUpperCase());
  if (errors && entry !== undefined) return { ...errors, title: wanted.toUpperCase(), text: entry };
  const known = [...pages.map((one) => one.topic), ...pages.map((one) => one.topic.split('/').at(-1)!)];
  throw new UserError('DOCS_UNKNOWN', `There is no page called ${topic}.`, {
    expected: 'a topic of `dopt docs`, or the code of an error',
    suggestions: [
      ...nearMatches(wanted, [...known, ...entries.keys()]).map((name) => `Did you mean ${name}?`),
      'List the pages with: dopt docs',
    ],
  });
}

/** Sections of the second level by their headings, headings included. */
export function sections(text: string): Map<string, string> {
  const parts = text.split(/^(?=## )/m).filter((part) => part.startsWith('## '));
  return new Map(parts.map((part) => [part.slice(3, part.indexOf('\n')), `${part.trimEnd()}\n`]));
}

/** Markdown as it is read best where it is not rendered: without comments and marks of tests, pictures and links by their words. */
export const forTerminal = (text: string): string =>
  text
    .replace(/<!--[\s\S]*?-->\n?/g, '')
    .replace(/^([ \t]*```\w+) run.*$/gm, '$1')
    .replace(/!\[([^\]]*)\]\([^)]*\)/g, '(picture: $1)')
    .replace(/\[([^\]]+)\]\((?!https?:)([^)#]*)(#[^)]*)?\)/g, (_, words: string, path: string) =>
      path.endsWith('.md') && !words.includes('.md') ? `${words} (${path})` : words,
    )
    .replace(/\n{3,}/g, '\n\n');
