import { basename, extname } from 'node:path';
import { type Cell, type CsvKind, type CsvTable, csvError, readCsv } from '../../config/csv.js';
import type { Problem } from '../../config/problems.js';
import { nearMatches } from '../../graph/near-match.js';
import { PRECISION_NAMES, type Precision } from '../precision.js';

/** A network with the time that a device took for it. */
export interface Measurement {
  /** A network of shapes (`zoo:NAME`), a model file, or its name without the ending. */
  model: string;
  precision: Precision;
  seconds: number;
  /** Shown beside its prediction, but not fitted. */
  shown: boolean;
  /** `file:line` where it was read. */
  place: string;
}

const MEASUREMENTS: CsvKind = {
  code: 'MEASUREMENTS_INVALID',
  never: 'no table of measurements',
  advice: 'Give a CSV file with the columns model, dtype, ms.',
  check:
    'Mend the file: columns model, dtype, ms; a summary of Vela; or operator times of the CANN profiler.',
};

/** Other names that people write for precisions. */
const ALIASES: Record<string, Precision> = {
  float: 'fp16',
  float16: 'fp16',
  float32: 'fp32',
  'int8-8': 'int8',
  w8a8: 'int8',
  'int16-8': 'int16',
  w8a16: 'int16',
  'int16-4': 'int4',
  w4a16: 'int4',
};

/**
 * Reads measurements from any of three tables, told apart by their heads:
 *
 * - `model,dtype,ms`, and optionally `use`, where `show` keeps a row out of the fit;
 * - the summary CSV of Vela (`network`, `inference_time` in seconds), all INT8;
 * - operator times of the CANN profiler (`Op Name`, `Task Duration(us)`): one network, named like the file, the sum of
 *   its operators.
 * @param precision of networks in tables that do not say it
 *
 * Rejects with UserError MEASUREMENTS_INVALID, whose place is `path:line:column`.
 */
export async function readMeasurements(path: string, precision: Precision | null): Promise<Measurement[]> {
  const table = await readCsv(path, MEASUREMENTS);
  const columns = new Map(table.heads.map(({ text }, index) => [text.toLowerCase(), index]));
  const reader = new TableReader(table, columns);
  const found = columns.has('inference_time')
    ? velaRows(reader)
    : columns.has('task duration(us)')
      ? profilerRows(reader, precision)
      : plainRows(reader, precision);
  reader.finish(found.length);
  return found;
}

/** Rows of a table by the names of its columns; gathers what is wrong. */
class TableReader {
  private readonly problems: Problem[] = [];

  constructor(
    readonly table: CsvTable,
    private readonly columns: ReadonlyMap<string, number>,
  ) {}

  column(name: string, required: boolean): number | null {
    const index = this.columns.get(name);
    if (index !== undefined) return index;
    if (required) {
      const [head] = this.table.heads;
      const near = nearMatches(name, this.columns.keys(), 1);
      this.problems.push({
        line: head!.line,
        column: 1,
        message: `lacks the column ${name}`,
        found: this.table.heads.map(({ text }) => text).join(', '),
        suggestions: near.map((match) => `Is ${match} meant? Call it ${name}.`),
      });
    }
    return null;
  }

  wrong({ line, column, text }: Cell, message: string, expected: string): void {
    this.problems.push({ line, column, message, expected, found: text === '' ? 'nothing' : text });
  }

  /** A number above zero; NaN where the cell holds none. */
  positive(cell: Cell, what: string): number {
    const value = cell.text === '' ? Number.NaN : Number(cell.text);
    if (!(value > 0 && Number.isFinite(value))) {
      this.wrong(cell, `has a wrong value for ${what}`, 'a number above 0');
      return Number.NaN;
    }
    return value;
  }

  finish(rows: number): void {
    const { path, heads } = this.table;
    if (this.problems.length === 0 && rows === 0)
      this.problems.push({ line: heads[0]!.line, column: 1, message: 'holds no measurement' });
    if (this.problems.length > 0) throw csvError(path, MEASUREMENTS, this.problems);
  }
}

function plainRows(reader: TableReader, precision: Precision | null): Measurement[] {
  const { path, rows } = reader.table;
  const model = reader.column('model', true);
  const dtype = reader.column('dtype', precision === null);
  const milliseconds = reader.column('ms', true);
  const use = reader.column('use', false);
  if (model === null || milliseconds === null || (dtype === null && precision === null)) return [];
  return rows.map((row) => {
    const name = row[model]!;
    if (name.text === '') reader.wrong(name, 'has no model in this row', 'zoo:NAME or a model file');
    const shown = use === null ? '' : row[use]!.text.toLowerCase();
    if (use !== null && !['', 'fit', 'show'].includes(shown))
      reader.wrong(row[use]!, 'has a wrong value for use', 'fit or show');
    return {
      model: name.text,
      precision: dtype === null ? precision! : precisionOf(reader, row[dtype]!),
      seconds: reader.positive(row[milliseconds]!, 'ms') / 1000,
      shown: shown === 'show',
      place: `${path}:${name.line}`,
    };
  });
}

function precisionOf(reader: TableReader, cell: Cell): Precision {
  const text = cell.text.toLowerCase();
  const known = PRECISION_NAMES.find((name) => name === text) ?? ALIASES[text];
  if (!known) reader.wrong(cell, 'has a wrong value for dtype', `one of ${PRECISION_NAMES.join(', ')}`);
  return known ?? 'int8';
}

function velaRows(reader: TableReader): Measurement[] {
  const { path, rows } = reader.table;
  const network = reader.column('network', true);
  const time = reader.column('inference_time', true);
  if (network === null || time === null) return [];
  return rows.map((row) => ({
    model: row[network]!.text,
    precision: 'int8',
    seconds: reader.positive(row[time]!, 'inference_time'),
    shown: false,
    place: `${path}:${row[network]!.line}`,
  }));
}

function profilerRows(reader: TableReader, precision: Precision | null): Measurement[] {
  const { path, rows, heads } = reader.table;
  const duration = reader.column('task duration(us)', true);
  if (duration === null || rows.length === 0) return [];
  if (precision === null) {
    reader.wrong(
      heads[0]!,
      'does not say what its network computes in',
      'the same with --dtype int8 (or fp16, …)',
    );
    return [];
  }
  // Operators that took no measurable time are listed with zero.
  const microseconds = rows.map((row) => {
    const cell = row[duration]!;
    return cell.text !== '' && Number(cell.text) === 0 ? 0 : reader.positive(cell, 'Task Duration(us)');
  });
  const seconds = microseconds.reduce((a, b) => a + b, 0) / 1e6;
  return [{ model: basename(path, extname(path)), precision, seconds, shown: false, place: path }];
}
