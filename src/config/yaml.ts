import { createRequire } from 'node:module';
import type { Document, LineCounter } from 'yaml';
import type { z } from 'zod';
import type { UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { describeIssue, knownKeys, type Path } from './issues.js';
import { type Problem as PlacedProblem, problemsError, shorten } from './problems.js';
import { readTextFile, type TextFileKind } from './text-file.js';

const require = createRequire(import.meta.url);

/** The reader of YAML, loaded with the first file: most commands read none, and its 70 modules take their time. */
const yaml = (): typeof import('yaml') => require('yaml');

/** What a YAML file is, for its errors. */
export interface YamlKind extends TextFileKind {
  /** The step that always helps with a file that is wrong. */
  check: string;
  /** Most words, marks and line ends, where a file of the kind may be longer than what people write. */
  words?: number;
}

const RECIPE: YamlKind = {
  code: 'RECIPE_INVALID',
  never: 'no recipe',
  advice: 'Give a YAML file, or a name that `dopt recipe list` prints.',
  check: 'Mend the file; `dopt recipe check FILE` reads it alone.',
};
/** Most nodes that one anchor may stand for through its aliases: files that grow without bound are refused. */
const MAX_ALIASES = 100;
/** Most open collections and list items at once; what people write stays below 10. */
const MAX_DEPTH = 64;
/** Most words, marks and line ends in a file; what people write stays below 2,000. */
const MAX_TOKENS = 20_000;

/** One thing wrong with a file. */
interface Problem extends Omit<PlacedProblem, 'line' | 'column'> {
  /** Where in the text, in UTF-16 units. */
  offset: number;
}

/**
 * A YAML file as `schema` has it, defaults filled in.
 *
 * Throws UserError RECIPE_INVALID for a file that cannot be read, is larger than 1 MB or not UTF-8, and for all that
 * `parseYaml` refuses.
 */
export async function readYaml<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>> {
  return parseYaml(await readTextFile(path, RECIPE), path, schema);
}

/**
 * YAML text as `schema` has it, defaults filled in; `path` is named in errors.
 *
 * Throws UserError of `kind.code`, whose place is `path:line:column`, for wrong syntax, keys given twice or unknown,
 * values of a wrong type or range, and files made to exhaust their reader: aliases that multiply, nesting without end.
 */
export function parseYaml<S extends z.ZodType>(
  text: string,
  path: string,
  schema: S,
  kind: YamlKind = RECIPE,
): z.output<S> {
  const { LineCounter, parseDocument } = yaml();
  const lines = new LineCounter();
  const fail = (problems: Problem[]): never => {
    throw toError(problems, path, lines, kind);
  };
  const excess = findExcess(text, lines, kind.words ?? MAX_TOKENS);
  if (excess) fail([excess]);
  const document = parseDocument(text, {
    prettyErrors: false,
    stringKeys: true,
    logLevel: 'error',
  });
  const syntax = [...document.errors, ...document.warnings];
  if (syntax.length > 0) {
    fail(syntax.map((error) => ({ offset: error.pos[0], message: `is not valid YAML: ${error.message}` })));
  }
  const result = schema.safeParse(toValue(document, fail));
  if (result.success) return result.data;
  return fail(result.error.issues.flatMap((issue) => toProblems(issue, schema, document, text)));
}

/** The document as plain values. */
function toValue(document: Document.Parsed, fail: (problems: Problem[]) => never): unknown {
  if (document.contents === null) return fail([{ offset: 0, message: 'holds no settings' }]);
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    // A ReferenceError: an alias without an anchor, or aliases that stand for too much.
    const message = `has aliases that cannot be followed: ${(error as Error).message}`;
    return fail([{ offset: aliasOffset(document), message }]);
  }
}

/** Where the first alias without an anchor is; the first of all when each has one. */
function aliasOffset(document: Document.Parsed): number {
  const offsets: number[] = [];
  let dangling: number | undefined;
  yaml().visit(document, {
    Alias(_key, node) {
      const offset = startOf(node) ?? 0;
      offsets.push(offset);
      if (!node.resolve(document)) dangling ??= offset;
    },
  });
  return dangling ?? offsets[0] ?? 0;
}

/** A zod issue at the place in the text it is about; one problem a key where several are unknown. */
function toProblems(
  issue: z.core.$ZodIssue,
  schema: z.ZodType,
  document: Document.Parsed,
  text: string,
): Problem[] {
  const within = issue.path.length > 0 ? ` in ${issue.path.join('.')}` : '';
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, issue.path);
    return issue.keys.map((key) => ({
      offset: locate(document, [...issue.path, key]).key,
      message: `has an unknown setting${within}: ${shorten(key)}`,
      expected: known.join(', '),
      suggestions: nearMatches(shorten(key), known, 1).map((match) => `Did you mean ${match}?`),
    }));
  }
  const { isAlias, isNode, isScalar } = yaml();
  const { key, node } = locate(document, issue.path);
  const { expected, options } = describeIssue(issue);
  const name = issue.path.join('.') || 'the whole file';
  if (!isNode(node)) return [{ offset: key, message: `lacks the setting ${name}`, expected }];
  const [start, end] = node.range ?? [key, key];
  const value = isAlias(node) ? node.resolve(document) : node;
  const near =
    isScalar(value) && typeof value.value === 'string' ? nearMatches(shorten(value.value), options, 1) : [];
  return [
    {
      offset: start,
      message: `has a wrong value for ${name}`,
      expected,
      found: shorten(
        text
          .slice(start, end)
          .trim()
          .split(/[\r\n]/, 1)[0] || 'nothing',
      ),
      suggestions: near.map((match) => `Did you mean ${match}?`),
    },
  ];
}

/** The node at `path`, and where its key begins; without a node, where the innermost one around it begins. */
function locate(document: Document.Parsed, path: Path): { key: number; node: unknown } {
  const { isAlias, isMap, isNode, isScalar, isSeq } = yaml();
  let node: unknown = document.contents;
  let key = startOf(node) ?? 0;
  for (const step of path) {
    const inside: unknown = isAlias(node) ? node.resolve(document) : node;
    const pair = isMap(inside)
      ? inside.items.find((item) => isScalar(item.key) && item.key.value === step)
      : undefined;
    node = isSeq(inside) ? inside.items[Number(step)] : pair?.value;
    if (!pair && !isNode(node)) return { key: startOf(inside) ?? key, node: undefined };
    key = startOf(pair?.key) ?? startOf(node) ?? key;
  }
  return { key, node };
}

const startOf = (node: unknown): number | undefined =>
  yaml().isNode(node) && node.range ? node.range[0] : undefined;

/** The problems of a file as one error. */
function toError(
  problems: Problem[],
  path: string,
  lines: LineCounter,
  { code, check }: YamlKind,
): UserError {
  const placed = problems.map(({ offset, ...problem }) => {
    const { line, col } = lines.linePos(offset);
    return { ...problem, line, column: col };
  });
  return problemsError(code, path, placed, check);
}

/**
 * Where the text outgrows what composing it may cost, or null; notes the line starts on the way.
 *
 * The composer recurses, and compares all keys of a map with each other. A stack that runs out inside a regular
 * expression ends the process instead of throwing, so the limits are kept here, where nothing recurses.
 */
function findExcess(text: string, lines: LineCounter, words: number): Problem | null {
  const { Lexer, Parser } = yaml();
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  let tokens = 0;
  for (const lexeme of new Lexer().lex(text)) {
    // What the parser hands out at the end of each document is not needed here.
    for (const _ of parser.next(lexeme));
    if (parser.stack.length > MAX_DEPTH) return { offset: parser.offset, message: 'is nested too deeply' };
    if (++tokens > words) return { offset: parser.offset, message: 'holds too much' };
  }
  return null;
}
