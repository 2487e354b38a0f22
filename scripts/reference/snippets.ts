import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandPage } from './commands.js';

/** A fenced block of a page that a test runs, or that says why none does. */
export interface Snippet {
  /** Path of the page from the root. */
  page: string;
  /** Line of its first command, from 1. */
  line: number;
  text: string;
  /** Marked as ```sh run: a test executes it. */
  run: boolean;
  /** Python, else null: the words behind `run`, the profile that it runs in and what the page takes as given. */
  python: string[] | null;
  /** A file that the page shows: ```yaml file=NAME. Its page and all others then have it. */
  file: string | null;
  /** Why it is not run: a comment <!-- not run: … --> before it, or one at the head of its page. */
  reason: string | null;
}

/** What is wrong with a command of a snippet. */
export interface SnippetProblem {
  place: string;
  command: string;
  problem: string;
}

/** Pages with commands: what lies in the root, docs/, and beside recipes and containers. */
export function documentedPages(root: string): string[] {
  const below = (folder: string): string[] =>
    readdirSync(join(root, folder), { recursive: true }).map((file) => `${folder}/${file}`);
  const top = readdirSync(root).filter((file) => file !== 'CHANGELOG.md');
  return [...top, ...below('docs'), ...below('recipes'), ...below('docker')]
    .filter((file) => file.endsWith('.md'))
    .sort();
}

const SHELL = ['', 'sh', 'bash', 'console'];
const NOT_RUN = /<!--\s*not run:\s*([\s\S]*?)\s*-->/;

/** Fenced blocks of a page that are commands of ours, Python, or files, with why they are not run. */
export function snippetsOf(page: string, text: string): Snippet[] {
  const lines = text.split('\n');
  const head = NOT_RUN.exec(text.split(/^## /m)[0]!.split('```')[0]!)?.[1] ?? null;
  const found: Snippet[] = [];
  for (let at = 0; at < lines.length; at++) {
    const opened = /^\s*```(\S*)\s*(.*)$/.exec(lines[at]!);
    if (!opened) continue;
    const end = lines.findIndex((line, index) => index > at && /^\s*```\s*$/.test(line));
    const body = lines.slice(at + 1, end < 0 ? lines.length : end).join('\n');
    const [, language = '', info = ''] = opened;
    const [first = '', ...more] = info.split(' ');
    const before = NOT_RUN.exec(lines[at - 1] ?? '')?.[1] ?? null;
    const run = first === 'run';
    const python = language === 'python' ? more : null;
    const file = /^file=(\S+)$/.exec(first)?.[1] ?? null;
    if (file || python || (SHELL.includes(language) && commandLines(body).some(isOurs))) {
      const reason = run || file ? null : (before ?? head);
      found.push({ page, line: at + 2, text: body, run, python, file, reason });
    }
    at = end < 0 ? lines.length : end;
  }
  return found;
}

/** All snippets of all pages. */
export const allSnippets = (root: string): Snippet[] =>
  documentedPages(root).flatMap((page) => snippetsOf(page, readFileSync(join(root, page), 'utf8')));

/** Commands of a block, continued lines joined, comments and output left out. */
export function commandLines(body: string): string[] {
  return body
    .replace(/\\\n/g, ' ')
    .split('\n')
    .flatMap((line) => line.replace(/(^|\s)#\s.*$/, '').split(/\s(?:&&|\||;)\s/))
    .map((line) => line.replace(/^\s*\$\s+/, '').trim())
    .filter((line) => line !== '');
}

const DOPT = /^(?:[A-Z_]+=\S*\s+)*(?:dopt|node bin\/run\.js)(?:\s+|$)/;
const NPM = /^npm run\s+(?:-s\s+)?(\S+)/;

const isOurs = (line: string): boolean =>
  DOPT.test(line) || NPM.test(line) || /^(npm (test|link|ci)\b|python3 compat\/)/.test(line);

/** A command in one way of writing, to tell whether two are the same. */
export const sameWay = (line: string): string =>
  line.replace(/^node bin\/run\.js/, 'dopt').replace(/\s+/g, ' ');

/** Problems of the commands of a snippet: commands, flags and values that do not exist. */
export function checkSnippet(
  snippet: Snippet,
  commands: readonly CommandPage[],
  npmScripts: readonly string[],
): SnippetProblem[] {
  if (snippet.python || snippet.file) return [];
  return commandLines(snippet.text).flatMap((command) => {
    const script = NPM.exec(command)?.[1];
    const problems = DOPT.test(command)
      ? checkCommand(words(command.replace(DOPT, '')), commands)
      : script !== undefined && !npmScripts.includes(script)
        ? [`package.json has no script ${script}`]
        : [];
    return problems.map((problem) => ({ place: `${snippet.page}:${snippet.line}`, command, problem }));
  });
}

/** Words of a command as a shell splits them, quotes taken off. */
export const words = (line: string): string[] =>
  [...line.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replace(/["']/g, ''));

function checkCommand(given: readonly string[], commands: readonly CommandPage[]): string[] {
  if (given.length === 0 || given[0]!.startsWith('--')) return [];
  const command = [...commands]
    .sort((a, b) => b.name.length - a.name.length)
    .find(({ name }) => name.split(' ').every((word, index) => given[index] === word));
  if (!command) return [`there is no command ${given.slice(0, 2).join(' ')}`];
  const problems: string[] = [];
  let values = 0;
  const rest = given.slice(command.name.split(' ').length);
  for (let at = 0; at < rest.length; at++) {
    const word = rest[at]!;
    if (word === '--') break;
    // What the page leaves to the reader.
    if (/^(…|\.\.\.|\[.*|.*\]|\|)$/.test(word)) continue;
    if (!/^-{1,2}[a-zA-Z]/.test(word)) {
      values++;
      continue;
    }
    const [name = '', value] = word.replace(/^-+/, '').split(/=(.*)/s);
    const flag = command.flags.find(
      (one) =>
        one.name === name ||
        one.aliases.includes(name) ||
        one.char === name ||
        (one.allowNo && `no-${one.name}` === name),
    );
    if (!flag) {
      problems.push(`dopt ${command.name} has no flag ${word}`);
      continue;
    }
    const chosen = flag.value ? (value ?? rest[++at]) : undefined;
    if (flag.value && chosen === undefined) problems.push(`--${flag.name} has no value`);
    if (chosen && /^[a-z0-9.-]+$/.test(chosen) && flag.options.length > 0 && !flag.options.includes(chosen))
      problems.push(`--${flag.name} takes ${flag.options.join(', ')}, not ${chosen}`);
  }
  const needed = command.args.filter(({ required }) => required).length;
  if (values < needed && !rest.some((word) => /^(…|\.\.\.)$/.test(word)))
    problems.push(
      `dopt ${command.name} needs ${command.args.map(({ name }) => name.toUpperCase()).join(' ')}`,
    );
  return problems;
}
