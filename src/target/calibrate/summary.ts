import { PARAMETERS } from '../device.js';
import { type CalibrationResult, describeForm, type PrecisionCalibration } from './calibrate.js';
import type { Accuracy } from './evaluate.js';

/** A calibration in lines: what was fitted, how good it is, and each network. */
export function calibrationLines({ target, out, precisions }: CalibrationResult): string[] {
  return [...precisions.flatMap(precisionLines), `The profile of ${target} with these factors: ${out}`];
}

function precisionLines({
  precision,
  form,
  factors,
  kinds,
  before,
  leftOut,
  rows,
}: PrecisionCalibration): string[] {
  const width = Math.max(...rows.map(({ model }) => model.length));
  const milliseconds = (seconds: number | null): string =>
    (seconds === null ? '–' : (1000 * seconds).toPrecision(4)).padStart(9);
  const fitted = rows.filter(({ shown }) => !shown).length;
  const values = [...PARAMETERS.map((name) => [name, factors[name]] as const), ...Object.entries(kinds)];
  return [
    `${precision}: ${fitted} ${fitted === 1 ? 'network' : 'networks'}, ${describeForm(form)}`,
    `  factors: ${values.map(([name, value]) => `${name} ${value.toPrecision(3)}`).join(', ')}`,
    `  the profile as it was: ${accuracyText(before)}`,
    `  networks left out:     ${leftOut ? accuracyText(leftOut) : 'a single network cannot be left out'}`,
    `  ${'network'.padEnd(width)}  measured ms    before  left out     after   error`,
    ...rows.map(
      ({ model, measured, before: was, leftOut: left, after, shown }) =>
        `  ${model.padEnd(width)}    ${[measured, was, left, after].map(milliseconds).join(' ')} ${signed((left ?? after) / measured - 1)}${shown ? '  not fitted' : ''}`,
    ),
    '',
  ];
}

const signed = (share: number): string => `${share > 0 ? '+' : ''}${(100 * share).toFixed(1)} %`.padStart(9);

const accuracyText = ({ mape, median, spearman }: Accuracy): string =>
  `mean error ${(100 * mape).toFixed(1)} %, median ${(100 * median).toFixed(1)} %` +
  (spearman === null ? '' : `, rank correlation ${spearman.toFixed(3)}`);
