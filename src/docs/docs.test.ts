import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { fromPython, fromTypeScript } from '../../scripts/reference/error-sources.js';
import { errorEntries } from '../../scripts/reference/errors.js';
import { errorNotes, readSources, referencePages, type Sources } from '../../scripts/reference/pages.js';
import {
  allSnippets,
  checkSnippet,
  commandLines,
  documentedPages,
  snippetsOf,
} from '../../scripts/reference/snippets.js';
import { usualGroupSize } from '../llm/group-size.js';
import { forTerminal, listPages, readTopic, sections } from './pages.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

let sourced: Sources;
beforeAll(async () => {
  sourced = await readSources(root);
  // All commands are loaded and all sources parsed: seconds, on a busy machine many.
}, 120_000);

describe('the reference', () => {
  it('is what `npm run docs:reference` makes of the source', () => {
    for (const [path, text] of Object.entries(referencePages(root, sourced))) {
      expect(read(path) === text, `${path} is not up to date: npm run docs:reference`).toBe(true);
    }
  });

  it('has an entry for every code that the source raises', () => {
    // Another way of reading than the generator's: any text in capitals that follows the opening of an error.
    const raised =
      /(?:(?:User|Environment|External|Dopt)Error|\b_fields|\.error)\(\s*['"]([A-Z][A-Z0-9_]+)['"]/g;
    const named = /\b(?:code|CODE): '([A-Z][A-Z0-9_]+)'/g;
    const bug = /DoptError\(\s*"([A-Z_0-9]+)"(?:(?!DoptError)[\s\S])*?kind="bug"/g;
    const files = [...sources('src', '.ts'), ...sources('python/dopt', '.py')].map(read);
    const codes = new Set(files.flatMap((text) => [...matches(text, raised), ...matches(text, named)]));
    const bugs = new Set(files.flatMap((text) => matches(text, bug)));
    const entries = sections(read('docs/reference/errors.md'));
    expect(codes.size).toBeGreaterThan(200);
    expect([...codes].filter((code) => !entries.has(code) && !bugs.has(code))).toEqual([]);
  });

  it('says of each error what happened and what to do', () => {
    const notes = errorNotes(root);
    const entries = errorEntries(sourced.errors, notes);
    const mute = entries.filter(
      ({ messages, suggestions, note }) => !note && (messages.length === 0 || suggestions.length === 0),
    );
    expect(mute.map(({ code }) => `${code}: add what to do to docs/reference/errors.yaml`)).toEqual([]);
    const known = new Set(entries.map(({ code }) => code));
    expect(Object.keys(notes).filter((code) => !known.has(code))).toEqual([]);
  });

  it('reads errors of TypeScript and Python', () => {
    const typescript = `throw new UserError('A_B', \`\${file} is \` + 'no file.', {
      exitCode: EXIT.usage, suggestions: [many ? 'Give one.' : 'Give two.', ...near.map((n) => \`or \${n}\`)] });
      throw new Bug('not a code'); const yaml = { code: 'C_D' };`;
    expect(fromTypeScript('x.ts', typescript)).toEqual([
      {
        code: 'A_B',
        kind: 'user',
        message: '… is no file.',
        suggestions: ['Give one.', 'Give two.'],
        exit: 'usage',
        file: 'x.ts',
      },
      { code: 'C_D', kind: 'user', message: '', suggestions: [], file: 'x.ts' },
    ]);
    const python = `raise DoptError(
        "E_F", f"{path}: {', '.join(names)} " "is \\"bad\\".", kind="external",
        suggestions=[f"Try {other}.", "Or (this)."])`;
    expect(fromPython('x.py', python)).toEqual([
      {
        code: 'E_F',
        kind: 'external',
        message: '…: … is "bad".',
        suggestions: ['Try ….', 'Or (this).'],
        file: 'x.py',
      },
    ]);
  });
});

const sources = (folder: string, ending: string): string[] =>
  readdirSync(join(root, folder), { recursive: true })
    .map((file) => `${folder}/${file}`)
    .filter((file) => file.endsWith(ending) && !file.endsWith('.test.ts'));

const matches = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map(([, code]) => code!);

describe('commands in the documentation', () => {
  it('exist, with their flags and values', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const snippets = allSnippets(root);
    expect(snippets.length).toBeGreaterThan(50);
    expect(
      snippets.flatMap((snippet) => checkSnippet(snippet, sourced.commands, Object.keys(scripts))),
    ).toEqual([]);
  });

  it('are run by a test, or say why not', () => {
    const silent = allSnippets(root).filter(({ run, file, reason }) => !run && !file && !reason);
    expect(
      silent.map(
        ({ page, line }) =>
          `${page}:${line}: mark it \`\`\`sh run, \`\`\`python run PROFILE, or <!-- not run: why --> before it`,
      ),
    ).toEqual([]);
  });

  it('are checked word by word', () => {
    const page = [
      '<!-- not run: no data -->',
      '```sh',
      'dopt quantise net.onnx',
      'dopt quantize net.onnx --data x \\',
      '  --efort best --effort bester --out   # a comment',
      'dopt verify a.onnx && npm run nothing',
      'dopt quantize net.onnx …',
      '```',
      '```sh run',
      'dopt llm quantize m --no-verify --data=x --out y',
      '```',
    ].join('\n');
    const [first, second] = snippetsOf('p.md', page);
    expect(first).toMatchObject({ line: 3, run: false, reason: 'no data' });
    expect(second).toMatchObject({ run: true, reason: null });
    expect(commandLines(first!.text)).toHaveLength(5);
    expect(checkSnippet(first!, sourced.commands, []).map(({ problem }) => problem)).toEqual([
      'there is no command quantise net.onnx',
      'dopt quantize has no flag --efort',
      '--effort takes fast, balanced, best, not bester',
      '--out has no value',
      'dopt verify needs FLOAT QUANTIZED',
      'package.json has no script nothing',
    ]);
    expect(checkSnippet(second!, sourced.commands, [])).toEqual([]);
  });
});

describe('recipes/llm/README.md', () => {
  it('names the groups that layers get', () => {
    const table = read('recipes/llm/README.md').matchAll(/^\| [^|]+ \| ([\d, ]+) \| ([^|]+) \|/gm);
    const rows = [...table].map(([, inputs = '', groups = '']) => ({
      inputs: inputs.split(', ').map((text) => Number(text.replace(',', ''))),
      groups: [...groups.matchAll(/\d+|row/g)].map(([word]) => (word === 'row' ? 0 : Number(word))),
    }));
    expect(rows.length).toBeGreaterThan(3);
    for (const { inputs, groups } of rows)
      expect(new Set(inputs.map(usualGroupSize))).toEqual(new Set(groups));
  });
});

describe('links in the documentation', () => {
  const withoutCode = (page: string): string => read(page).replace(/```[\s\S]*?```/g, '');
  /** What a page can be entered by, as GitHub makes it of its headings. */
  const anchors = (page: string): string[] =>
    [...withoutCode(page).matchAll(/^#+ +(.+)$/gm)].map(([, heading]) =>
      heading!
        .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .trim()
        .toLowerCase()
        .replace(/[^\p{L}\p{N}_ -]/gu, '')
        .replaceAll(' ', '-'),
    );
  const links = () =>
    documentedPages(root).flatMap((page) =>
      [...withoutCode(page).matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, target]) => target!)
        .filter((target) => !/^[a-z]+:/.test(target))
        .map((target) => {
          const [path = '', anchor = ''] = target.split('#');
          return { link: `${page} -> ${target}`, to: path ? join(dirname(page), path) : page, anchor };
        }),
    );

  it('lead to files', () => {
    expect(links().filter(({ to }) => !existsSync(join(root, to)))).toEqual([]);
  });

  it('lead to headings', () => {
    const entered = links().filter(({ to, anchor }) => anchor !== '' && to.endsWith('.md'));
    expect(entered.length).toBeGreaterThan(10);
    expect(entered.filter(({ to, anchor }) => !anchors(to).includes(anchor))).toEqual([]);
  });
});

describe('dopt docs', () => {
  it('lists pages with their titles, where to begin first', async () => {
    const pages = await listPages();
    expect(pages.slice(0, 2).map(({ topic }) => topic)).toEqual(['README', 'get-started']);
    expect(pages.every(({ title }) => title !== '')).toBe(true);
  });

  it('finds a page by its topic or the end of it, and an error by its code', async () => {
    expect((await readTopic('metrics')).title).toBe('Metrics');
    expect((await readTopic('commands')).topic).toBe('reference/commands');
    expect((await readTopic('data_shape')).text).toMatch(/^## DATA_SHAPE\n\nExit code 3/);
    await expect(readTopic('metric')).rejects.toMatchObject({
      code: 'DOCS_UNKNOWN',
      suggestions: expect.arrayContaining(['Did you mean metrics?']),
    });
  });

  it('leaves out what cannot be seen in a terminal', () => {
    const text =
      '<!-- not run: x -->\n# T\n\n![a graph](g.svg) [the page](a/b.md#c) [x.md](x.md) [w](https://w.org)\n';
    const seen = '# T\n\n(picture: a graph) the page (a/b.md) x.md [w](https://w.org)\n';
    expect(forTerminal(text)).toBe(seen);
    expect(forTerminal('```sh run\na run b\n```\n')).toBe('```sh\na run b\n```\n');
  });
});
