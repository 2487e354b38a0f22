import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Graph } from '../../../src/graph/graph.js';
import { type Accuracy, accuracyOf } from '../../../src/target/calibrate/evaluate.js';
import { fitTarget, type MeasuredNetwork } from '../../../src/target/calibrate/fit-target.js';
import { solveSymmetric } from '../../../src/target/calibrate/linear.js';
import { CostModel } from '../../../src/target/cost-model.js';
import type { LoweredNetwork } from '../../../src/target/lower.js';
import { loadTarget } from '../../../src/target/target-files.js';
import { type Cell, cellNetwork, readCells } from './cells.js';
import { markdown, type Places, percent, type Section, Skipped } from './section.js';

const FILE = 'nas/nasbench201_latency_27_devices.csv';
/** Cells that are measured for a calibration, and how often they are drawn. */
const MEASURED = 30;
const DRAWS = 3;

/** Columns of the table; phones and boards ran compiled networks, servers what PyTorch runs operator by operator. */
const DEVICES = [
  { column: 'pixel3', title: 'Pixel 3', compiled: true },
  { column: 'raspi4', title: 'Raspberry Pi 4', compiled: true },
  { column: 'gold_6226', title: 'Xeon Gold 6226', compiled: false },
];

const OPERATIONS = ['none', 'skip_connect', 'nor_conv_1x1', 'nor_conv_3x3', 'avg_pool_3x3'];

/** Ridge regression on how often each operation stands in a cell; the penalty is not on the constant. */
function ridge(cells: readonly Cell[], seconds: readonly number[]): (cell: Cell) => number {
  const features = ({ edges }: Cell): number[] => [
    1,
    ...OPERATIONS.map((operation) => edges.filter((edge) => edge === operation).length),
  ];
  const size = OPERATIONS.length + 1;
  const matrix = Array.from({ length: size }, (_, i) =>
    Array.from({ length: size }, (_, j) => (i === j && i > 0 ? 1 : 0)),
  );
  const right = new Array<number>(size).fill(0);
  cells.forEach((cell, index) => {
    const row = features(cell);
    for (let i = 0; i < size; i++) {
      right[i]! += row[i]! * seconds[index]!;
      for (let j = 0; j < size; j++) matrix[i]![j]! += row[i]! * row[j]!;
    }
  });
  const weights = solveSymmetric(matrix, right);
  return (cell) => features(cell).reduce((sum, value, i) => sum + value * weights[i]!, 0);
}

/** Different places below `count`, the same for the same seed (Steele, Lea, Flood, "SplitMix", OOPSLA 2014). */
function draw(count: number, seed: number): Set<number> {
  const chosen = new Set<number>();
  for (let state = BigInt(seed); chosen.size < MEASURED; ) {
    state = (state + 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn;
    let mixed = ((state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n) & 0xffffffffffffffffn;
    mixed = ((mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn) & 0xffffffffffffffffn;
    chosen.add(Number((mixed ^ (mixed >> 31n)) % BigInt(count)));
  }
  return chosen;
}

/** What the model and the ridge say after one draw of measured cells. */
interface Draw {
  device: (typeof DEVICES)[number];
  chosen: ReadonlySet<number>;
  model: CostModel;
  simple: (cell: Cell) => number;
  /** Of the other cells, in seconds. */
  ours: number[];
  theirs: number[];
  truth: number[];
}

const lowered = (model: CostModel, { edges }: Cell, compiled: boolean): LoweredNetwork =>
  model.lower(new Graph(cellNetwork(edges, compiled)));

function fitted(cells: readonly Cell[], device: Draw['device'], seed: number): Draw {
  const target = loadTarget('generic-cpu');
  const model = new CostModel(target);
  const chosen = draw(cells.length, seed);
  const known = [...chosen].map((index) => cells[index]!);
  const seconds = known.map((cell) => secondsOf(cell, device));
  const rows = known.map(
    (cell, index): MeasuredNetwork => ({
      model: String(index),
      network: lowered(model, cell, device.compiled),
      precision: 'fp32',
      seconds: seconds[index]!,
    }),
  );
  return {
    device,
    chosen,
    model: new CostModel(fitTarget(target, rows).target),
    simple: ridge(known, seconds),
    ours: [],
    theirs: [],
    truth: [],
  };
}

const secondsOf = ({ milliseconds }: Cell, { column }: Draw['device']): number =>
  milliseconds[column]! / 1000;

async function measure({ assets }: Places): Promise<string> {
  const path = join(assets, FILE);
  if (!existsSync(path)) throw new Skipped(`${path} is not there`);
  const cells = readCells(path);
  const draws = DEVICES.flatMap((device) =>
    Array.from({ length: DRAWS }, (_, seed) => fitted(cells, device, seed)),
  );
  for (const [index, cell] of cells.entries())
    for (const compiled of [true, false]) {
      const network = lowered(draws[0]!.model, cell, compiled);
      for (const one of draws) {
        if (one.device.compiled !== compiled || one.chosen.has(index)) continue;
        one.ours.push(one.model.predict(network, { rest: 'fp32' }).seconds);
        one.theirs.push(one.simple(cell));
        one.truth.push(secondsOf(cell, one.device));
      }
    }
  const heads = ['device', 'dopt, rank correlation', 'the worst', 'mean error', 'ridge, rank correlation'];
  const rows = DEVICES.map((device) =>
    rowOf(
      device.title,
      draws.filter((one) => one.device === device),
    ),
  );
  const others = (cells.length - MEASURED).toLocaleString('en');
  return [
    `${MEASURED} cells measured, ${others} predicted; mean of ${DRAWS} draws. Ridge: on counts of operations, the same cells.`,
    '',
    markdown([...heads, 'mean error'], rows),
  ].join('\n');
}

function rowOf(title: string, draws: readonly Draw[]): string[] {
  const ours = draws.map((one) => accuracyOf(one.ours, one.truth));
  const theirs = draws.map((one) => accuracyOf(one.theirs, one.truth));
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  const rank = ({ spearman }: Accuracy): number => spearman!;
  return [
    title,
    mean(ours.map(rank)).toFixed(3),
    Math.min(...ours.map(rank)).toFixed(3),
    percent(mean(ours.map(({ mape }) => mape))),
    mean(theirs.map(rank)).toFixed(3),
    percent(mean(theirs.map(({ mape }) => mape))),
  ];
}

export const nasbench201: Section = {
  name: 'nasbench201',
  title: 'NAS-Bench-201: measured times of 15,625 cells',
  measure,
};
