import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Genome } from '../../../src/search/space.js';
import type { Problem } from '../../../src/search/strategies/strategy.js';
import { readCells } from '../cost/cells.js';
import { markdown, Skipped } from '../cost/section.js';
import { cell, play, SEARCHES } from './play.js';
import type { NasSection } from './section.js';

const ACCURACIES = 'nas/nasbench201_12epoch_accuracies.csv';
const LATENCIES = 'nas/nasbench201_latency_27_devices.csv';
const OPERATIONS = ['none', 'skip_connect', 'nor_conv_1x1', 'nor_conv_3x3', 'avg_pool_3x3'];
const EDGES = 6;
const MARKS = [50, 100, 200];
/** Devices with a limit on latency: half of all cells are faster. */
const DEVICES = ['pixel3', 'raspi4', 'eyeriss', 'fpga', 'gold_6226'];

interface TableCell {
  validation: number;
  test: number;
  milliseconds: Readonly<Record<string, number>>;
}

const keyOf = (edges: readonly string[]): string => edges.map((edge) => OPERATIONS.indexOf(edge)).join('');

function readTable(assets: string): Map<string, TableCell> {
  const [accuracies, latencies] = [join(assets, ACCURACIES), join(assets, LATENCIES)];
  for (const path of [accuracies, latencies])
    if (!existsSync(path)) throw new Skipped(`${path} is not there`);
  const [, ...lines] = readFileSync(accuracies, 'utf8').trim().split('\n');
  return new Map(
    readCells(latencies).map(({ edges, milliseconds }, index) => {
      const [, , test, validation] = lines[index]!.split(',').map(Number);
      return [keyOf(edges), { test: test!, validation: validation!, milliseconds }];
    }),
  );
}

/** A problem of one objective; how often each operation stands in a cell is known before it is trained. */
const problemOf = (violation: (genome: Genome) => number): Problem => ({
  space: Array.from({ length: EDGES }, () => ({ choices: OPERATIONS.length, ordered: false })),
  screen: (genome) => ({
    costs: [],
    violation: violation(genome),
    features: OPERATIONS.map((_, operation) => genome.filter((value) => value === operation).length / 2),
  }),
});

function measure({ assets, seeds }: Parameters<NasSection['measure']>[0]): string {
  const table = readTable(assets);
  const of = (genome: Genome): TableCell => table.get(genome.join(''))!;
  const free = problemOf(() => 0);
  const rows = Object.entries(SEARCHES).map(([name, make]) => {
    const found = MARKS.map((): number[] => []);
    for (let seed = 0; seed < seeds; seed++) {
      let best: TableCell | null = null;
      play(
        free,
        make(free, seed),
        (genome) => of(genome).validation,
        MARKS.at(-1)!,
        (genome, tried) => {
          if (!best || of(genome).validation > best.validation) best = of(genome);
          const mark = MARKS.indexOf(tried);
          if (mark >= 0) found[mark]!.push(best.test);
        },
      );
    }
    return [name, ...found.map((values) => cell(values, 2))];
  });
  return [
    `Test accuracy of the cell with the best validation accuracy, mean of ${seeds} seeds and its standard error.`,
    '',
    markdown(['search', ...MARKS.map((mark) => `${mark} evaluations`)], rows),
    '',
    'With a limit on the latency that half of the cells keep, 100 evaluations:',
    '',
    markdown(
      ['device', 'limit', 'networks tried over it', 'test accuracy', 'best possible'],
      DEVICES.map((device) => limited(table, device, seeds)),
    ),
  ].join('\n');
}

function limited(table: ReadonlyMap<string, TableCell>, device: string, seeds: number): string[] {
  const all = [...table.values()];
  const time = ({ milliseconds }: TableCell): number => milliseconds[device]!;
  const limit = all.map(time).sort((a, b) => a - b)[all.length >> 1]!;
  const of = (genome: Genome): TableCell => table.get(genome.join(''))!;
  const problem = problemOf((genome) => Math.max(0, time(of(genome)) / limit - 1));
  const best = (cells: readonly TableCell[]): TableCell =>
    cells.reduce((a, b) => (b.validation > a.validation ? b : a));
  let broken = 0;
  const found = Array.from({ length: seeds }, (_, seed) => {
    const tried: TableCell[] = [];
    play(
      problem,
      SEARCHES['**dopt**']!(problem, seed),
      (genome) => of(genome).validation,
      100,
      (genome) => {
        if (time(of(genome)) > limit) broken++;
        tried.push(of(genome));
      },
    );
    return best(tried).test;
  });
  const oracle = best(all.filter((one) => time(one) <= limit)).test;
  return [device, `${limit.toPrecision(3)} ms`, String(broken), cell(found, 2), oracle.toFixed(2)];
}

export const cells201: NasSection = {
  name: 'nasbench201',
  title: 'NAS-Bench-201, 12 epochs: accuracy on CIFAR-10',
  measure,
};
