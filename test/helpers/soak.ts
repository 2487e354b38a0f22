import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quantizeOptions } from '../../src/cli/quantize-flags.js';
import { quantize } from '../../src/quantize/quantize.js';
import { digits } from './cli.js';

/** What a process holds of the machine. */
export interface Held {
  /** Open descriptors of this process. */
  descriptors: number;
  /** Living processes below this one. */
  children: number;
  threads: number;
  /** Entries in the folder for temporary files. */
  files: number;
  /** Resident memory, and what JavaScript uses of it after a collection where --expose-gc allows one; MB. */
  resident: number;
  heap: number;
}

/**
 * Quantizes the shipped model `runs` times in this process, and notes after each run what it holds. Temporary files are
 * counted in a folder of their own.
 */
export async function soak(
  runs: number,
  onRun: (run: number, held: Held) => void = () => {},
): Promise<Held[]> {
  const folder = mkdtempSync(join(tmpdir(), 'soak-'));
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  const flags = {
    data: digits.calibration,
    recipe: 'digits',
    effort: 'fast',
    samples: 8,
    'verify-samples': 4,
    strategy: 'int8-8',
    target: 'kirin9020',
    framework: 'auto',
    env: 'venv',
    seed: 0,
    threads: 1,
    resume: false,
    strict: false,
    'skip-bad': false,
    'fake-quant': false,
    'float16-to-float32': false,
  };
  const series: Held[] = [];
  try {
    for (let run = 0; run < runs; run += 1) {
      const out = join(folder, 'run');
      await quantize(await quantizeOptions(digits.model, { ...flags, out } as never));
      rmSync(out, { recursive: true });
      series.push(await held(folder));
      onRun(run, series.at(-1)!);
    }
    return series;
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    rmSync(folder, { recursive: true, force: true });
  }
}

async function held(folder: string): Promise<Held> {
  // Pipes and workers of the last run are closed within a second of its end.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  globalThis.gc?.();
  const megabytes = (bytes: number): number => Math.round(bytes / 1e5) / 10;
  const { rss, heapUsed } = process.memoryUsage();
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    children: childrenOf(process.pid).length,
    threads: Number(/^Threads:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]),
    files: readdirSync(folder).length,
    resident: megabytes(rss),
    heap: megabytes(heapUsed),
  };
}

const childrenOf = (pid: number): string[] =>
  readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean),
  );

/** What grew from the second quarter of a series to its last, in words; memory may grow by so many MB a run. */
export function growth(series: readonly Held[], memoryPerRun = 0.1): string[] {
  const quarter = Math.max(1, Math.floor(series.length / 4));
  const median = (part: readonly Held[], key: keyof Held): number => {
    const sorted = part.map((held) => held[key]).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)]!;
  };
  // The first quarter warms caches up.
  const [early, late] = [series.slice(quarter, 2 * quarter), series.slice(-quarter)];
  const allowed = { resident: memoryPerRun * 2 * quarter, heap: memoryPerRun * 2 * quarter } as Record<
    string,
    number
  >;
  return (Object.keys(series[0]!) as (keyof Held)[]).flatMap((key) => {
    const [from, to] = [median(early, key), median(late, key)];
    return to - from > (allowed[key] ?? 0) ? [`${key}: ${from} to ${to}`] : [];
  });
}
