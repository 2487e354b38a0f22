import { open } from 'node:fs/promises';
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { describeIssue, knownKeys, type Path } from './issues.js';

/** Largest file that is read, in bytes. */
export const MAX_YAML_BYTES = 1_000_000;
/** Most nodes that one anchor may stand for through its aliases: files that grow without bound are refused. */
const MAX_ALIASES = 100;
/** Deepest nesting; what people write stays below 10, and the parser is recursive. */
const MAX_DEPTH = 64;

/** One thing wrong with a file. */
interface Problem {
  /** Where in the text, in UTF-16 units. */
  offset: number;
  message: string;
  expected?: string | undefined;
  found?: string | undefined;
  suggestions?: string[];
}

/**
 * A YAML file as `schema` has it, defaults filled in.
 *
 * Throws UserError RECIPE_INVALID for a file that cannot be read, is larger than 1 MB or not UTF-8, and for all that
 * `parseYaml` refuses.
 */
export async function readYaml<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>> {
  return parseYaml(await readText(path), path, schema);
}

/**
 * YAML text as `schema` has it, defaults filled in; `path` is named in errors.
 *
 * Throws UserError RECIPE_INVALID, whose place is `path:line:column`, for wrong syntax, keys given twice or unknown,
 * values of a wrong type or range, aliases that blow up, and nesting deeper than 64.
 */
export function parseYaml<S extends z.ZodType>(text: string, path: string, schema: S): z.output<S> {
  const lines = new LineCounter();
  const fail = (problems: Problem[]): never => {
    throw toError(problems, path, lines);
  };
  const deep = nestedTooDeep(text);
  if (deep !== null) {
    fillLines(lines, text);
    return fail([{ offset: deep, message: `is nested more than ${MAX_DEPTH} levels deep` }]);
  }
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    logLevel: 'silent',
  });
  const syntax = [...document.errors, ...document.warnings];
  if (syntax.length > 0) {
    fail(syntax.map((error) => ({ offset: error.pos[0], message: `is not valid YAML: ${error.message}` })));
  }
  const result = schema.safeParse(toValue(document, fail));
  if (result.success) return result.data;
  return fail(result.error.issues.flatMap((issue) => toProblems(issue, schema, document)));
}

/** The document as plain values. */
function toValue(document: Document.Parsed, fail: (problems: Problem[]) => never): unknown {
  if (document.contents === null) return fail([{ offset: 0, message: 'holds no settings' }]);
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    // The library throws a ReferenceError for aliases without an anchor or in excess, a TypeError for a bad merge.
    return fail([{ offset: 0, message: `has aliases that cannot be followed: ${(error as Error).message}` }]);
  }
}

/** A zod issue at the place in the text it is about; one problem a key where several are unknown. */
function toProblems(issue: z.core.$ZodIssue, schema: z.ZodType, document: Document.Parsed): Problem[] {
  const within = issue.path.length > 0 ? ` in ${issue.path.join('.')}` : '';
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, issue.path);
    return issue.keys.map((key) => ({
      offset: keyOffset(document, issue.path, key),
      message: `has an unknown setting${within}: ${shorten(key)}`,
      expected: known.join(', '),
      suggestions: nearMatches(shorten(key), known, 1).map((match) => `Did you mean ${match}?`),
    }));
  }
  const { offset, value, found } = locate(document, issue.path);
  const { expected, options } = describeIssue(issue);
  const name = issue.path.join('.') || 'the file';
  if (!found) return [{ offset, message: `lacks the setting ${name}`, expected }];
  const near = typeof value === 'string' ? nearMatches(shorten(value), options, 1) : [];
  return [
    {
      offset,
      message: `has a wrong value for ${name}`,
      expected,
      found: shorten(JSON.stringify(value) ?? String(value)),
      suggestions: near.map((match) => `Did you mean ${match}?`),
    },
  ];
}

/** Where the value at `path` begins and what it is; the innermost node around it, with `found` false, if it is absent. */
function locate(document: Document.Parsed, path: Path): { offset: number; value: unknown; found: boolean } {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    const pair = isMap(node)
      ? node.items.find(({ key }) => (isScalar(key) ? key.value : key) === String(step))
      : undefined;
    const next = pair ? pair.value : isSeq(node) ? node.items[Number(step)] : undefined;
    if (next === undefined) return { offset, value: undefined, found: false };
    node = next;
    offset = startOf(node) ?? startOf(pair?.key) ?? offset;
  }
  // `key:` without a value is null.
  return { offset, value: isNode(node) ? node.toJS(document) : node, found: true };
}

/** Where `key` of the map at `path` is written. */
function keyOffset(document: Document.Parsed, path: Path, key: string): number {
  let node: unknown = document.contents;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node) || isSeq(node)) node = node.get(step, true);
  }
  if (isAlias(node)) node = node.resolve(document);
  const pair = isMap(node)
    ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === key)
    : undefined;
  return startOf(pair?.key) ?? startOf(node) ?? 0;
}

const startOf = (node: unknown): number | undefined =>
  isNode(node) && node.range ? node.range[0] : undefined;

/** The first problem of the file as the error; the others are listed under its message. */
function toError(problems: Problem[], path: string, lines: LineCounter): UserError {
  const place = ({ offset }: Problem): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  };
  const [first, ...others] = [...problems].sort((a, b) => a.offset - b.offset) as [Problem, ...Problem[]];
  const message = [
    `${place(first)} ${first.message}.`,
    ...others.slice(0, 9).map((problem) => `  ${place(problem)} ${problem.message}.`),
    ...(others.length > 9 ? [`  and ${others.length - 9} more.`] : []),
  ].join('\n');
  return new UserError('RECIPE_INVALID', message, {
    place: place(first),
    ...(first.expected && { expected: first.expected }),
    ...(first.found && { found: first.found }),
    suggestions: [...(first.suggestions ?? []), 'Mend the file; `dopt recipe check FILE` reads it alone.'],
  });
}

/** Where brackets or indentation nest deeper than MAX_DEPTH, or null: the parser would recurse as deep. */
function nestedTooDeep(text: string): number | null {
  // Brackets in strings and comments count too, so the limit only has to be far above what is ever written.
  let brackets = 0;
  let dashes = 0;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (character === '[' || character === '{') brackets++;
    else if (character === ']' || character === '}') brackets = Math.max(0, brackets - 1);
    else if (character === '-' || character === '?' || character === ':') dashes++;
    else if (character === '\n') dashes = 0;
    // `- - - -` and `? ? ?` nest within one line.
    if (brackets > MAX_DEPTH || dashes > 4 * MAX_DEPTH) return index;
  }
  return null;
}

/** What the parser would have noted, for text that it is not given. */
function fillLines(lines: LineCounter, text: string): void {
  lines.addNewLine(0);
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lines.addNewLine(at + 1);
}

const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}...` : text);

/** A UTF-8 file of at most MAX_YAML_BYTES. */
async function readText(path: string): Promise<string> {
  const refuse = (message: string, cause?: unknown): never => {
    throw new UserError('RECIPE_INVALID', `${path} ${message}.`, {
      place: path,
      suggestions: ['Give a YAML file, or a name that `dopt recipe list` prints.'],
      cause,
    });
  };
  let bytes: Buffer;
  try {
    bytes = await readAtMost(path, MAX_YAML_BYTES + 1);
  } catch (error) {
    const reasons: Record<string, string> = { ENOENT: 'does not exist', EISDIR: 'is a folder' };
    const { code, message } = error as NodeJS.ErrnoException;
    return refuse(reasons[code ?? ''] ?? `cannot be read (${message})`, error);
  }
  if (bytes.length > MAX_YAML_BYTES) return refuse('is larger than 1 MB, which no recipe is');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    return refuse('is not UTF-8 text', error);
  }
}

/** The first `most` bytes of a file, however long it is. */
async function readAtMost(path: string, most: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(most);
    let length = 0;
    while (length < most) {
      const { bytesRead } = await file.read(buffer, length, most - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return buffer.subarray(0, length);
  } finally {
    await file.close();
  }
}
