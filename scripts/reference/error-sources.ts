import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

/** A place in the source that makes an error. */
export interface Raised {
  code: string;
  kind: 'user' | 'environment' | 'external' | 'bug';
  /** What it says, `…` for what is filled in; empty where the source does not say it in one place. */
  message: string;
  suggestions: string[];
  /** Where it is not the one of its kind: a key of EXIT in src/errors.ts. */
  exit?: string;
  /** Path from the root. */
  file: string;
}

/** Of an error, or of nothing that is one: those are told apart by the place they stand at. */
const CODE = /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/;

const KINDS: Readonly<Record<string, Raised['kind']>> = {
  UserError: 'user',
  EnvironmentError: 'environment',
  ExternalError: 'external',
  Bug: 'bug',
};

/** Every error that the sources of TypeScript and Python make, in the order of codes. */
export function readErrors(root: string): Raised[] {
  const files = (folder: string, ending: string): string[] =>
    readdirSync(join(root, folder), { recursive: true })
      .map((file) => join(folder, String(file)))
      .filter((file) => file.endsWith(ending) && !file.endsWith('.test.ts'));
  const text = (file: string): string => readFileSync(join(root, file), 'utf8');
  return [
    ...files('src', '.ts').flatMap((file) => fromTypeScript(file, text(file))),
    ...files('python/dopt', '.py').flatMap((file) => fromPython(file, text(file))),
  ].sort((a, b) => (a.code < b.code ? -1 : a.code > b.code ? 1 : a.file < b.file ? -1 : 1));
}

/** Errors made by `new …Error(CODE, message, {suggestions})`, by a function that takes a code, or named by `code: CODE`. */
export function fromTypeScript(file: string, text: string): Raised[] {
  // Most files make none; parsing takes its time.
  if (!/Error\(|\bBug\(|\bcode: '|\b(CODE|UNFORESEEN) = |\bunknown\(|\bneedFile\(/.test(text)) return [];
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: Raised[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isNewExpression(node) || ts.isCallExpression(node)) {
      const name = node.expression.getText(source).split('.').at(-1)!;
      const at = (node.arguments ?? []).findIndex((one) => isCode(one));
      const [code, ...rest] = (node.arguments ?? []).slice(Math.max(at, 0));
      const made = KINDS[name] ?? (FUNCTIONS.includes(name) ? 'user' : undefined);
      if (at >= 0 && made && ts.isStringLiteral(code!)) {
        const message = rest[0] ? words(rest[0]) : '';
        const exit = /exitCode: EXIT\.(\w+)/.exec(rest.map((one) => one.getText(source)).join())?.[1];
        const raised = { code: code.text, kind: made, message, suggestions: advice(rest), file };
        found.push(exit ? { ...raised, exit } : raised);
      }
    }
    const named =
      ts.isPropertyAssignment(node) && ['code', 'advice'].includes(node.name.getText(source))
        ? node.initializer
        : ts.isVariableDeclaration(node) && ['CODE', 'UNFORESEEN'].includes(node.name.getText(source))
          ? node.initializer
          : undefined;
    if (named && isCode(named)) {
      found.push({ code: named.text, kind: 'user', message: '', suggestions: [], file });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Functions that make an error of the code they are given. */
const FUNCTIONS = ['unknown', 'needFile'];

const isCode = (node: ts.Node): node is ts.StringLiteral => ts.isStringLiteral(node) && CODE.test(node.text);

/** A text of the source with `…` for what is filled in; empty where it is no literal. */
function words(node: ts.Expression): string {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isTemplateExpression(node)) {
    return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('');
  }
  if (ts.isBinaryExpression(node)) return words(node.left) + words(node.right);
  if (ts.isConditionalExpression(node)) return words(node.whenTrue) || words(node.whenFalse);
  return '';
}

/** Texts of `suggestions: […]` in the objects among the arguments. */
function advice(args: readonly ts.Expression[]): string[] {
  const texts: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAssignment(node) && node.name.getText() === 'suggestions') {
      const list = (one: ts.Node): void => {
        if (ts.isStringLiteralLike(one) || ts.isTemplateExpression(one))
          texts.push(words(one as ts.Expression));
        else if (ts.isConditionalExpression(one)) [one.whenTrue, one.whenFalse].forEach(list);
        else if (!ts.isCallExpression(one)) ts.forEachChild(one, list);
      };
      list(node.initializer);
    }
    ts.forEachChild(node, visit);
  };
  for (const arg of args.slice(1)) visit(arg);
  return texts.filter((text) => /\w{3}/.test(text));
}

/** Errors made by `DoptError(CODE, …)`, and by functions that are given a code first. */
export function fromPython(file: string, text: string): Raised[] {
  const found: Raised[] = [];
  const raised =
    /(?:\bDoptError|\.error|\b_fields|\bread_json|\b_?error|\brefusal|\b_refuse\w*|\berrno\.\w+:\s*)\(\s*/g;
  for (const { index, 0: opening } of text.matchAll(raised)) {
    const args = callArguments(text, index + opening.length);
    const at = args.findIndex((arg) => /^f?"/.test(arg) && CODE.test(literal(arg)));
    if (at < 0 || at > 1) continue;
    const rest = args.slice(at + 1);
    const option = (name: string): string | undefined =>
      rest.find((arg) => new RegExp(`^${name}\\s*=`).test(arg))?.replace(/^\w+\s*=\s*/, '');
    const positional = rest.filter((arg) => !/^\w+\s*=[^=]/.test(arg));
    const kind = /"(user|environment|external|bug)"/.exec(option('kind') ?? positional[0] ?? '')?.[1];
    const message = positional.find(
      (arg) => /^f?"/.test(arg) && !/^"(user|environment|external|bug)"$/.test(arg),
    );
    const suggestions = option('suggestions') ?? positional.find((arg) => arg.startsWith('[')) ?? '';
    found.push({
      code: literal(args[at]!),
      kind: (kind ?? 'user') as Raised['kind'],
      message: message ? literal(message) : '',
      suggestions: listed(suggestions),
      file,
    });
  }
  return found;
}

/** Arguments of a call whose parenthesis was opened just before `start`, as they stand in the text. */
function callArguments(text: string, start: number): string[] {
  const parts: string[] = [];
  let depth = 0;
  let begin = start;
  for (let at = start; at < text.length; at++) {
    const char = text[at]!;
    if (char === '"' || char === "'") at = stringEnd(text, at);
    else if ('([{'.includes(char)) depth++;
    else if (')]}'.includes(char) && depth === 0) {
      parts.push(text.slice(begin, at).trim());
      break;
    } else if (')]}'.includes(char)) depth--;
    else if (char === ',' && depth === 0) {
      parts.push(text.slice(begin, at).trim());
      begin = at + 1;
    }
  }
  return parts.filter((part) => part !== '');
}

/** Index of the quote that ends the string beginning at `at`. */
function stringEnd(text: string, at: number): number {
  const quote = text[at]!;
  for (let end = at + 1; end < text.length; end++) {
    if (text[end] === '\\') end++;
    else if (text[end] === quote) return end;
  }
  return text.length;
}

/** Neighbouring string literals as one text, `…` for what an f-string or a %-format fills in. */
function literal(source: string): string {
  let text = '';
  for (let at = 0; at < source.length; at++) {
    if (source[at] !== '"' && source[at] !== "'") {
      // Behind the string: a format, a condition.
      if (text !== '' && /[^\sf()]/.test(source[at]!)) break;
      continue;
    }
    const end = stringEnd(source, at);
    const body = source
      .slice(at + 1, end)
      .replace(/\\n/g, ' ')
      .replace(/\\(.)/g, '$1');
    text += source[at - 1] === 'f' ? filledIn(body) : body;
    at = end;
  }
  return text.replace(/%[sdr]/g, '…');
}

/** The text of an f-string with `…` for each of its fields, which may hold braces themselves. */
function filledIn(body: string): string {
  const inner = body.replace(/\{[^{}]*\}/g, '…');
  return inner === body ? body : filledIn(inner);
}

/** Strings of a Python list. */
function listed(source: string): string[] {
  if (!source.startsWith('[')) return [];
  return callArguments(source, 1)
    .filter((item) => /^f?["']/.test(item))
    .map(literal);
}
