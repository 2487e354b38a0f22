import type { Factors, Target } from '../../config/target.js';
import { CostModel } from '../cost-model.js';
import { calibrationOf, factorsOf, PARAMETERS } from '../device.js';
import type { LoweredNetwork } from '../lower.js';
import { PRECISIONS, type Precision } from '../precision.js';
import { parameterSpreads } from '../uncertainty.js';
import { type Fit, fit } from './evaluate.js';
import { featuresOf } from './features.js';

/** A measured network as the device runs it. */
export interface MeasuredNetwork {
  model: string;
  network: LoweredNetwork;
  precision: Precision;
  seconds: number;
}

/** A profile with the fits that its factors come from. */
export interface FittedTarget {
  target: Target;
  fits: ReadonlyMap<Precision, Fit>;
}

/**
 * Fits every precision that was measured. Floating point comes first: what has no integer form computes in it in integer
 * networks, too, and is then known.
 */
export function fitTarget(target: Target, rows: readonly MeasuredNetwork[]): FittedTarget {
  const fits = new Map<Precision, Fit>();
  let fitted = target;
  for (const precision of inOrder(rows.map((row) => row.precision))) {
    const own = rows.filter((row) => row.precision === precision);
    const model = new CostModel(fitted);
    const samples = own.map(({ network, seconds }) => ({
      features: featuresOf(
        model.cost(network, { rest: precision }),
        precision,
        model.rates(precision).overlap,
      ),
      seconds,
    }));
    const result = fit(samples, parameterSpreads(fitted, precision));
    fits.set(precision, result);
    const factors = corrected(fitted, precision, result, own.length);
    fitted = { ...fitted, calibration: { ...fitted.calibration, [precision]: factors } };
  }
  return { target: fitted, fits };
}

/** Each precision once, floating point first. */
const inOrder = (precisions: readonly Precision[]): Precision[] =>
  [...new Set(precisions)].sort((a, b) => Number(PRECISIONS[a].integer) - Number(PRECISIONS[b].integer));

/** What was measured of a precision before, corrected by a fit. */
function corrected(target: Target, precision: Precision, { factors, kinds }: Fit, rows: number): Factors {
  const earlier = calibrationOf(target, precision);
  const base = factorsOf(earlier);
  const figure = (value: number) => ({
    value: rounded(value),
    status: 'measured' as const,
    source: 'calibration',
  });
  const operators = { ...earlier?.kinds };
  for (const [op, value] of Object.entries(kinds)) operators[op] = rounded((operators[op] ?? 1) * value);
  return {
    ...(Object.fromEntries(PARAMETERS.map((name) => [name, figure(base[name] * factors[name])])) as Omit<
      Factors,
      'kinds' | 'error' | 'rows'
    >),
    ...(Object.keys(operators).length > 0 && { kinds: operators }),
    error: figure(earlier?.error.value ?? target.error.value),
    rows,
  };
}

export const rounded = (value: number): number => Number(value.toPrecision(4));

/** Seconds that a profile predicts for measured networks. */
export function predictAll(target: Target, rows: readonly MeasuredNetwork[]): number[] {
  const model = new CostModel(target);
  return rows.map(({ network, precision }) => model.predict(network, { rest: precision }).seconds);
}

/** Most parts that networks are left out in. */
const PARTS = 25;

/** Seconds predicted for each network by a fit to all the others, in any precision; NaN for one that is alone. */
export function predictLeftOut(target: Target, rows: readonly MeasuredNetwork[]): number[] {
  const names = [...new Set(rows.map(({ model }) => model))];
  const part = new Map(names.map((name, index) => [name, index % PARTS]));
  const predicted = rows.map(() => Number.NaN);
  for (let out = 0; out < Math.min(PARTS, names.length); out++) {
    const rest = rows.filter(({ model }) => part.get(model) !== out);
    const { target: fitted, fits } = fitTarget(target, rest);
    const model = new CostModel(fitted);
    rows.forEach(({ model: name, network, precision }, index) => {
      if (part.get(name) === out && fits.has(precision))
        predicted[index] = model.predict(network, { rest: precision }).seconds;
    });
  }
  return predicted;
}
