import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const DIGITS = join(ROOT, 'recipes/digits/model.onnx');
export const PICTURES = join(ROOT, 'recipes/digits/data/calibration');

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

/** Starts the built command line. */
export function start(
  args: readonly string[],
  env: Record<string, string> = {},
): { child: ChildProcess; end: Promise<Outcome> } {
  const child = spawn(process.execPath, [join(ROOT, 'bin/run.js'), ...args], {
    env: { ...process.env, ...env },
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk) => (err += chunk));
  const end = new Promise<Outcome>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, out, err }));
  });
  return { child, end };
}

export const dopt = (...args: string[]): Promise<Outcome> => start(args).end;

/** Flags of a short quantization of the shipped model. */
const SHORT = { '--data': PICTURES, '--recipe': 'digits', '--samples': '24', '--verify-samples': '8' };

/** A short quantization of the shipped model into `out`; flags in `more` replace the usual ones. */
export function quick(out: string, ...more: string[]): string[] {
  const usual = Object.entries(SHORT).filter(([flag]) => !more.includes(flag));
  return ['quantize', DIGITS, ...usual.flat(), '--out', out, ...more];
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
