import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import type { EnvironmentKind } from '../../bridge/profiles.js';
import { type Progress, silentProgress } from '../../cli/progress.js';
import { type Factors, type Target, targetSchema } from '../../config/target.js';
import { parseYaml } from '../../config/yaml.js';
import { EXIT, UserError } from '../../errors.js';
import { writeFileAtomic } from '../../run/atomic.js';
import { CostModel } from '../cost-model.js';
import type { LoweredNetwork } from '../lower.js';
import { isZooName } from '../names.js';
import { networkOf } from '../network.js';
import type { Precision } from '../precision.js';
import { findTarget, loadTarget, TARGET } from '../target-files.js';
import { type Accuracy, accuracyOf, conformalError, type Fit, type Form, meanLogError } from './evaluate.js';
import type { ParameterFactors } from './features.js';
import { fitTarget, type MeasuredNetwork, predictAll, predictLeftOut, rounded } from './fit-target.js';
import { type Measurement, readMeasurements } from './measurements.js';
import { withCalibration } from './write.js';

export interface CalibrateOptions {
  target: string;
  measurements: string;
  /** Folder of the model files that the measurements name; that of the measurements when null. */
  models: string | null;
  /** Precision of tables that do not say it. */
  precision: Precision | null;
  /** Forget what was measured before. */
  fresh: boolean;
  /** Profile that is written. */
  out: string;
  /** Says where the measurements come from, in the profile. */
  source: string | null;
  inputShapes: Record<string, number[]>;
  environment: EnvironmentKind;
  progress?: Progress;
  signal: AbortSignal;
}

/** A measured network beside its predictions, in seconds. */
export interface CalibrationRow {
  model: string;
  measured: number;
  before: number;
  /** By a fit that did not see it; null where nothing else could be fitted, and for rows that are only shown. */
  leftOut: number | null;
  after: number;
  /** Not fitted. */
  shown: boolean;
}

export interface PrecisionCalibration {
  precision: Precision;
  form: Form;
  factors: ParameterFactors;
  /** Factors by operator. */
  kinds: Record<string, number>;
  before: Accuracy;
  /** null for a single network. */
  leftOut: Accuracy | null;
  rows: CalibrationRow[];
}

export interface CalibrationResult {
  target: string;
  out: string;
  precisions: PrecisionCalibration[];
}

/**
 * Fits the profile of a target to measurements, one precision at a time, and writes it.
 *
 * One to seven measurements give one scale, eight the six main parameters, fifty factors by operator on top. Each network
 * is also predicted by a fit to all the others; a calibration whose predictions of networks left out are worse than the
 * profile's is refused.
 *
 * Rejects with UserError TARGET_UNKNOWN, TARGET_INVALID, MEASUREMENTS_INVALID, TARGET_PRECISION, CALIBRATION_WORSE,
 * CALIBRATION_EXISTS, and as the doors do.
 */
export async function calibrate(options: CalibrateOptions): Promise<CalibrationResult> {
  const { out, progress = silentProgress } = options;
  if (existsSync(out))
    throw new UserError('CALIBRATION_EXISTS', `${out} exists already.`, {
      exitCode: EXIT.usage,
      place: out,
      suggestions: ['Name another file with --out, or remove this one.'],
    });
  const loaded = loadTarget(options.target);
  const target: Target = options.fresh ? { ...loaded, calibration: undefined } : loaded;
  const measured = await readMeasurements(options.measurements, options.precision);
  const networks = await lowerAll(options, new CostModel(target), measured);
  const rows = measured.map((row) => ({ ...row, network: networks.get(row.model)! }));
  const { calibration, precisions } = calibrateTarget(target, rows);
  for (const { precision, form, rows: used } of precisions)
    progress.note(`${precision}: ${used.length} measurements, ${describeForm(form)}`);
  const text = await readFile(findTarget(options.target), 'utf8');
  const source = options.source ?? `measured: ${options.measurements}`;
  const written = withCalibration(text, calibration, { name: 'calibration', text: source });
  parseYaml(written, out, targetSchema, TARGET);
  await writeFileAtomic(out, written);
  return { target: target.name, out, precisions };
}

export const describeForm = (form: Form): string =>
  ({ scale: 'one scale', parameters: 'six parameters', operators: 'six parameters and factors by operator' })[
    form
  ];

/** Kernels of every network that was measured, by its name. */
async function lowerAll(
  options: CalibrateOptions,
  model: CostModel,
  measured: readonly Measurement[],
): Promise<Map<string, LoweredNetwork>> {
  const { inputShapes, environment, signal, progress = silentProgress } = options;
  const folder = options.models ?? dirname(options.measurements);
  const networks = new Map<string, LoweredNetwork>();
  for (const { model: name, place } of measured) {
    if (networks.has(name)) continue;
    const { graph } = await networkOf({
      model: modelFile(name, folder, place),
      framework: 'auto',
      weights: null,
      className: null,
      trustCode: false,
      inputShapes,
      outputs: null,
      environment,
      profile: null,
      float16ToFloat32: true,
      progress,
      signal,
    });
    networks.set(name, model.lower(graph));
  }
  return networks;
}

const ENDINGS = ['', '.onnx', '.json', '.pb', '.h5'];

function modelFile(name: string, folder: string, place: string): string {
  if (isZooName(name)) return name;
  const tried = ENDINGS.map((ending) => join(folder, `${name}${ending}`));
  const found = tried.find((path) => existsSync(path) && extname(path) !== '.csv');
  if (found) return found;
  throw new UserError(
    'MEASUREMENTS_INVALID',
    `${place} names the model ${name}, which is not in ${folder}.`,
    {
      place,
      expected: `zoo:NAME, or one of ${tried.join(', ')}`,
      suggestions: ['Say where the models lie: --models FOLDER'],
    },
  );
}

/** A measurement with its network as the device runs it. */
type Row = Measurement & MeasuredNetwork;

/**
 * The calibration that measurements call for, with how good it is.
 * @throws UserError MEASUREMENTS_INVALID, TARGET_PRECISION, CALIBRATION_WORSE
 */
export function calibrateTarget(
  target: Target,
  rows: readonly Row[],
): { calibration: NonNullable<Target['calibration']>; precisions: PrecisionCalibration[] } {
  const fitted = rows.filter(({ shown }) => !shown);
  const { target: after, fits } = fitTarget(target, fitted);
  const leftOut = predictLeftOut(target, fitted);
  const calibration = { ...after.calibration };
  const precisions: PrecisionCalibration[] = [];
  for (const precision of new Set(rows.map((row) => row.precision))) {
    const result = fits.get(precision);
    if (!result) throw onlyShown(precision, rows.find((row) => row.precision === precision)!);
    const own = rows.filter((row) => row.precision === precision);
    const before = predictAll(target, own);
    const now = predictAll(after, own);
    const table = own.map((row, index): CalibrationRow => {
      const left = leftOut[fitted.indexOf(row)] ?? Number.NaN;
      return {
        model: row.model,
        measured: row.seconds,
        before: before[index]!,
        leftOut: Number.isNaN(left) ? null : left,
        after: now[index]!,
        shown: row.shown,
      };
    });
    precisions.push(judged(precision, result, table));
    calibration[precision] = withError(calibration[precision]!, table, target.error.value);
  }
  return { calibration, precisions };
}

/** How good the fit of a precision is; an error when it is worse than the profile was. */
function judged(
  precision: Precision,
  { form, factors, kinds }: Fit,
  rows: CalibrationRow[],
): PrecisionCalibration {
  const judgedRows = rows.filter(({ shown }) => !shown);
  const left = leftOutOf(rows);
  const compared = left ?? judgedRows.map((row) => ({ ...row, leftOut: row.after }));
  const measured = compared.map((row) => row.measured);
  const before = compared.map((row) => row.before);
  if (left)
    refuseWorse(
      precision,
      meanLogError(before, measured),
      meanLogError(
        left.map((row) => row.leftOut),
        measured,
      ),
      form,
    );
  return {
    precision,
    form,
    factors,
    kinds,
    before: accuracyOf(before, measured),
    leftOut:
      left &&
      accuracyOf(
        left.map((row) => row.leftOut),
        measured,
      ),
    rows,
  };
}

/** Fitted rows with their predictions by a fit to the others; null when there is no other. */
function leftOutOf(rows: readonly CalibrationRow[]): (CalibrationRow & { leftOut: number })[] | null {
  const found = rows.filter((row): row is CalibrationRow & { leftOut: number } => row.leftOut !== null);
  return found.length > 1 ? found : null;
}

function withError(factors: Factors, rows: readonly CalibrationRow[], prior: number): Factors {
  const left = leftOutOf(rows) ?? [];
  const error = conformalError(
    left.map((row) => row.leftOut),
    left.map((row) => row.measured),
    prior,
  );
  return { ...factors, error: { ...factors.error, value: rounded(error) } };
}

function onlyShown(precision: Precision, { place }: Row): UserError {
  return new UserError('MEASUREMENTS_INVALID', `All measurements in ${precision} are only shown.`, {
    place,
    suggestions: ['Let some of them be fitted: leave the column use empty, or write fit.'],
  });
}

function refuseWorse(precision: Precision, before: number, leftOut: number, form: Form): void {
  if (leftOut <= before) return;
  const percent = (error: number): string => `${(100 * Math.expm1(error)).toFixed(1)} %`;
  throw new UserError(
    'CALIBRATION_WORSE',
    `Fitting ${describeForm(form)} in ${precision} predicts networks that were left out worse than the profile does.`,
    {
      expected: `a mean error below ${percent(before)}, as the profile has it`,
      found: percent(leftOut),
      suggestions: [
        'Measure more networks, and each one more often.',
        'Check that the models are those that were measured: input sizes, batch, what runs outside.',
      ],
    },
  );
}
