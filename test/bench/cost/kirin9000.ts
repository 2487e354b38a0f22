import { join } from 'node:path';
import type { Target } from '../../../src/config/target.js';
import { fitTarget, predictAll, predictLeftOut } from '../../../src/target/calibrate/fit-target.js';
import { type Measurement, readMeasurements } from '../../../src/target/calibrate/measurements.js';
import { CostModel } from '../../../src/target/cost-model.js';
import { loadTarget } from '../../../src/target/target-files.js';
import { zooGraph } from '../../../src/target/zoo/find.js';
import { leftOut, macsOverRate, plainRoofline, type Row } from './baselines.js';
import { judge, markdown, milliseconds, type Places, type Section, signed } from './section.js';

/** A measured network of shapes, as a device runs it. */
export type MeasuredRow = Measurement & Row;

/** Rows of a table of measurements with their networks, and the profile that nothing was measured for. */
export async function measured(root: string, name: string): Promise<{ target: Target; rows: MeasuredRow[] }> {
  const target: Target = { ...loadTarget(name), calibration: undefined };
  const model = new CostModel(target);
  const rows = await readMeasurements(join(root, 'targets/measurements', `${name}.csv`), null);
  return { target, rows: rows.map((row) => ({ ...row, network: model.lower(zooGraph(row.model)) })) };
}

const PRECISIONS = ['fp16', 'int8'] as const;

/** Networks left out one at a time, from a profile that nothing was measured for. */
async function measure({ root }: Places): Promise<string> {
  const { target, rows } = await measured(root, 'kirin9000');
  const fitted = rows.filter(({ shown }) => !shown);
  const predicted = predictLeftOut(target, fitted);
  const { target: after } = fitTarget(target, fitted);
  // The outlier of the table: its INT8 form is 21 times as fast.
  const sound = rows.filter(({ model, precision }) => model !== 'zoo:googlenet' || precision !== 'fp16');
  const every = predictLeftOut(target, sound);
  const text = PRECISIONS.flatMap((precision) => {
    const own = fitted.filter((row) => row.precision === precision);
    const ours = own.map((row) => predicted[fitted.indexOf(row)]!);
    const baselines = [macsOverRate, plainRoofline].map((baseline) => leftOut(own, baseline));
    const table = own.map((row, index) => [
      row.model.replace('zoo:', ''),
      milliseconds(row.seconds),
      ...[ours, ...baselines].flatMap((column) => [
        milliseconds(column[index]!),
        signed(column[index]! / row.seconds - 1),
      ]),
    ]);
    const seconds = own.map((row) => row.seconds);
    const all = sound.filter((row) => row.precision === precision);
    return [
      `**${precision}**, ms, networks left out one at a time`,
      '',
      markdown(['', 'measured', 'dopt', '', 'MACs/rate', '', 'roofline', ''], table),
      '',
      markdown(
        [`${precision}, ${own.length} networks`, 'mean error', 'rank correlation'],
        [
          ['dopt', ...judge(ours, seconds)],
          ['MACs/rate', ...judge(baselines[0]!, seconds)],
          ['plain roofline', ...judge(baselines[1]!, seconds)],
          [
            `dopt, all ${all.length}, at the sizes of the zoo`,
            ...judge(
              all.map((row) => every[sound.indexOf(row)]!),
              all.map((row) => row.seconds),
            ),
          ],
        ],
      ),
      '',
      `Not fitted: ${shownText(rows, precision, after)}.`,
      '',
    ];
  });
  return text.join('\n').trimEnd();
}

function shownText(rows: readonly MeasuredRow[], precision: string, target: Target): string {
  const shown = rows.filter((row) => row.shown && row.precision === precision);
  const predicted = predictAll(target, shown);
  return shown
    .map((row, index) => `${row.model.replace('zoo:', '')} ${signed(predicted[index]! / row.seconds - 1)}`)
    .join(', ');
}

export const kirin9000: Section = {
  name: 'kirin9000',
  title: 'Kirin 9000: published times of 20 networks',
  measure,
};
