import { type Problem, problemsError } from './problems.js';
import { readTextFile, type TextFileKind } from './text-file.js';

/** A cell with its place, counted from 1. */
export interface Cell {
  text: string;
  line: number;
  column: number;
}

/** A table with a row of heads. */
export interface CsvTable {
  path: string;
  heads: readonly Cell[];
  rows: readonly (readonly Cell[])[];
}

/** What a CSV file is, for its errors. */
export interface CsvKind extends TextFileKind {
  /** The step that always helps with a file that is wrong. */
  check: string;
}

/** The problems of a CSV file as one error. */
export const csvError = (path: string, kind: CsvKind, problems: readonly Problem[]): Error =>
  problemsError(kind.code, path, problems, kind.check);

/**
 * Reads a CSV file as RFC 4180 has it: quotes around cells with commas, line ends or doubled quotes. Empty lines and lines
 * that start with # are left out; all rows have as many cells as the heads.
 *
 * Rejects with UserError of `kind.code`, whose place is `path:line:column`.
 */
export async function readCsv(path: string, kind: CsvKind): Promise<CsvTable> {
  return parseCsv(await readTextFile(path, kind), path, kind);
}

/** CSV text as a table; `path` is named in errors. */
export function parseCsv(text: string, path: string, kind: CsvKind): CsvTable {
  const fail = (problem: Problem): never => {
    throw csvError(path, kind, [problem]);
  };
  const [heads, ...rows] = records(text, fail);
  if (!heads) return fail({ line: 1, column: 1, message: 'holds no table', expected: 'a row of heads' });
  for (const row of rows) {
    if (row.length === heads.length) continue;
    const last = row[Math.min(row.length, heads.length) - 1]!;
    fail({
      line: row[0]!.line,
      column: last.column,
      message: `has ${row.length} cells in this row`,
      expected: `${heads.length}, as in the row of heads`,
    });
  }
  return { path, heads, rows };
}

function records(text: string, fail: (problem: Problem) => never): Cell[][] {
  const found: Cell[][] = [];
  let line = 1;
  let lineStart = 0;
  let at = text.startsWith('\uFEFF') ? 1 : 0;
  const endOfLine = (from: number): number => {
    const end = text.indexOf('\n', from);
    return end < 0 ? text.length : end;
  };
  while (at < text.length) {
    const end = endOfLine(at);
    const whole = text.slice(at, end).trim();
    if (whole === '' || whole.startsWith('#')) {
      at = end + 1;
      line++;
      lineStart = at;
      continue;
    }
    const row: Cell[] = [];
    for (let more = true; more; ) {
      const place = { line, column: at - lineStart + 1 };
      if (text[at] === '"') {
        let content = '';
        for (at++; text[at] !== '"' || text[at + 1] === '"'; at++) {
          if (at >= text.length) fail({ ...place, message: 'has a quote that is never closed' });
          if (text[at] === '"') at++;
          if (text[at] === '\n') {
            line++;
            lineStart = at + 1;
          }
          content += text[at];
        }
        at++;
        row.push({ text: content, ...place });
        if (at < text.length && !/[,\r\n]/.test(text[at]!))
          fail({ line, column: at - lineStart + 1, message: 'goes on behind a closing quote' });
      } else {
        const stop = /[,\n]/g;
        stop.lastIndex = at;
        const next = stop.exec(text)?.index ?? text.length;
        row.push({ text: text.slice(at, next).trim(), ...place });
        at = next;
      }
      if (text[at] === '\r') at++;
      more = text[at] === ',';
      at++;
    }
    found.push(row);
    line++;
    lineStart = at;
  }
  return found;
}
