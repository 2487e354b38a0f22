import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Root of the repository. */
export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** The shipped model with its data. */
export const digits = {
  model: join(ROOT, 'recipes/digits/model.onnx'),
  calibration: join(ROOT, 'recipes/digits/data/calibration'),
  test: join(ROOT, 'recipes/digits/data/test'),
  labels: join(ROOT, 'recipes/digits/data/labels.txt'),
};

/** A short run over the shipped model: a few seconds. */
export const quantizeDigits = (out: string): string[] => [
  'quantize',
  digits.model,
  ...['--data', digits.calibration, '--verify-data', digits.test, '--labels', digits.labels],
  ...['--color', 'gray', '--std', '255', '--samples', '16', '--verify-samples', '16', '--out', out],
];

/** Flags of a short quantization of the shipped model by its recipe. */
const SHORT = {
  '--data': digits.calibration,
  '--recipe': 'digits',
  '--samples': '24',
  '--verify-samples': '8',
};

/** A short quantization of the shipped model by its recipe into `out`; flags in `more` replace the usual ones. */
export function quick(out: string, ...more: string[]): string[] {
  const usual = Object.entries(SHORT).filter(([flag]) => !more.includes(flag));
  return ['quantize', digits.model, ...usual.flat(), '--out', out, ...more];
}

/** Runs `work` with a folder that is gone afterwards. */
export async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'dopt-flow-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
  seconds: number;
}

export interface Running {
  child: ChildProcess;
  ended: Promise<Ended>;
}

export interface StartOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Run as leader of a process group, so that a signal can reach it as Ctrl-C in a terminal does. */
  group?: boolean;
}

/** Starts the built command line. */
export function startDopt(args: readonly string[], options: StartOptions = {}): Running {
  const started = performance.now();
  const child = spawn(process.execPath, [join(ROOT, 'bin/run.js'), ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    detached: options.group ?? false,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const ended = once(child, 'close').then(([code, signal]): Ended => {
    const seconds = (performance.now() - started) / 1000;
    return { code: code as number | null, signal: signal as NodeJS.Signals | null, out, err, seconds };
  });
  return { child, ended };
}

/** Runs the built command line to its end. */
export const dopt = (args: readonly string[], options: StartOptions = {}): Promise<Ended> =>
  startDopt(args, options).ended;

/** What --json prints under `error`. */
export interface PrintedError {
  kind: string;
  code: string;
  exitCode: number;
  message: string;
  expected?: string;
  found?: string;
  place?: string;
  suggestions: string[];
}

/** The error that a run with --json printed; fails when the output is something else. */
export function printedError({ out, err }: Ended): PrintedError {
  try {
    const { error } = JSON.parse(out) as { error: PrintedError };
    if (typeof error.code === 'string') return error;
  } catch {
    // told below, with what was printed
  }
  throw new Error(`no error object on stdout:\n${out}\n${err}`);
}

/** sha256 of a file, in hex. */
export const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Every file below a folder with its digest: to show that nothing was touched. */
export const contents = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((path) => [path, sha256(path)]),
  );

export interface RunEvent {
  time: string;
  type: string;
  stage?: string;
}

/** The events of a run folder, a list for each time that the folder was worked in. */
export function eventsOf(folder: string): RunEvent[][] {
  const path = join(folder, 'events.ndjson');
  if (!existsSync(path)) return [];
  const sessions: RunEvent[][] = [];
  for (const line of readFileSync(path, 'utf8').split('\n').filter(Boolean)) {
    const event = JSON.parse(line) as RunEvent;
    if (event.type === 'start') sessions.push([]);
    sessions.at(-1)!.push(event);
  }
  return sessions;
}

/** Stages that events of one type are about, in order. */
export const stagesOf = (events: readonly RunEvent[], type: string): string[] =>
  events.filter((event) => event.type === type).map((event) => event.stage!);
