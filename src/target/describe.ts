import { STATUSES, type Status, type Target } from '../config/target.js';
import { Graph } from '../graph/graph.js';
import { CostModel } from './cost-model.js';
import { precisionsOf } from './device.js';
import { macs } from './kernel.js';
import { DEFAULT_TARGET } from './names.js';
import type { Precision } from './precision.js';
import { loadTarget, targetNames } from './target-files.js';
import { ZOO } from './zoo/index.js';

/** A device in a few words. */
export interface TargetEntry {
  name: string;
  title: string;
  description: string;
  precisions: Precision[];
  /** Values of the profile by where they come from. */
  values: Record<Status, number>;
  /** Precisions that were measured, with the number of measurements. */
  calibrated: Partial<Record<Precision, number>>;
}

/** All devices that come with dopt, by name. */
export const describeTargets = (): TargetEntry[] => targetNames().map((name) => describe(loadTarget(name)));

function describe(target: Target): TargetEntry {
  const { name, title, description, calibration = {} } = target;
  const values = Object.fromEntries(STATUSES.map((status) => [status, 0])) as Record<Status, number>;
  for (const status of statusesIn(target)) values[status]++;
  return {
    name,
    title,
    description,
    precisions: precisionsOf(target),
    values,
    calibrated: Object.fromEntries(
      Object.entries(calibration).map(([precision, { rows }]) => [precision, rows]),
    ) as TargetEntry['calibrated'],
  };
}

function* statusesIn(value: unknown): Generator<Status> {
  if (value === null || typeof value !== 'object') return;
  const { status, source } = value as { status?: Status; source?: unknown };
  if (status !== undefined && source !== undefined) yield status;
  else for (const inner of Object.values(value)) yield* statusesIn(inner);
}

/** Devices as lines of a table. */
export function targetLines(targets: readonly TargetEntry[]): string[] {
  const rows = targets.map(({ name, title, precisions, values, calibrated }) => [
    name,
    title,
    precisions.join(' '),
    STATUSES.map((status) => values[status]).join('/'),
    Object.keys(calibrated).length > 0 ? `measured: ${Object.keys(calibrated).join(' ')}` : '',
  ]);
  const heads = ['target', 'device', 'precisions', STATUSES.map((status) => status[0]).join('/'), ''];
  const widths = heads.map((head, column) =>
    Math.max(head.length, ...rows.map((row) => row[column]!.length)),
  );
  return [heads, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
}

/** A network of shapes in a few words. */
export interface ZooEntry {
  name: string;
  /** Sizes of its input. */
  input: number[];
  macs: number;
  parameters: number;
}

/** All networks of shapes, in the order of the table that they were measured in. */
export function describeZoo(): ZooEntry[] {
  const model = new CostModel(loadTarget(DEFAULT_TARGET));
  return Object.entries(ZOO).map(([name, make]) => {
    const file = make();
    const { kernels } = model.lower(new Graph(file));
    return {
      name,
      input: (file.inputs[0]!.shape ?? []).map(Number),
      macs: kernels.reduce((sum, kernel) => sum + macs(kernel), 0),
      parameters: kernels.reduce((sum, { weights }) => sum + weights, 0),
    };
  });
}
