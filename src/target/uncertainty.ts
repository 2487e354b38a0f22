import type { Figure, Status, Target } from '../config/target.js';
import type { Assignment } from './assignment.js';
import type { CostModel } from './cost-model.js';
import { calibrationOf, PARAMETERS, type Parameter } from './device.js';
import type { LoweredNetwork } from './lower.js';

/** Standard deviations of the logarithm of a value, by where it comes from. */
const SPREADS: Record<Status, number> = { measured: 0.05, published: 0.1, derived: 0.25, assumed: 0.6 };

/** Half of a normal distribution's 90 %, in standard deviations. */
const NINETY = 1.645;

/** A value of a profile that a prediction rests on. */
export interface Support {
  /** Its path in the profile. */
  value: string;
  status: Status;
  source: string;
  /** Change of the predicted time in per cent for one per cent more of it. */
  elasticity: number;
}

/** Values of a profile that times are made of, by the parameter that measurements correct; null where none does. */
const VALUES: readonly (readonly [string, Parameter | null])[] = [
  ['compute.clock', 'matrix'],
  ['compute.cores', 'matrix'],
  ['compute.coreExponent', 'matrix'],
  ['compute.matrix.PRECISION.macsPerCycle', 'matrix'],
  ['compute.vectorBytes', 'vector'],
  ['compute.depthwise.macsPerCycle', 'vector'],
  ['memory.weights', 'memory'],
  ['memory.activations', 'memory'],
  ['memory.onChip.bandwidth', 'memory'],
  ['memory.onChip.bytes', null],
  ['memory.buffers.toL0a', 'memory'],
  ['memory.buffers.toL0b', 'memory'],
  ['overhead.layer', 'layer'],
  ['overhead.operator', 'operator'],
  ['overhead.run', 'run'],
  ['overhead.host', null],
  ['host.bandwidth', null],
  ['host.elements', null],
];

/** The figure at a path; undefined where the profile has none. */
function figureAt(target: Target, path: string): Figure<number> | undefined {
  const found = path
    .split('.')
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], target);
  return found as Figure<number> | undefined;
}

/** A profile with another figure at a path; what does not lie on the path is shared. */
const withFigure = <T extends object>(
  at: T,
  [key, ...rest]: readonly string[],
  figure: Figure<number>,
): T => ({
  ...at,
  [key!]: rest.length > 0 ? withFigure(at[key as keyof T] as object, rest, figure) : figure,
});

/**
 * Standard deviation of the logarithm of each main parameter: as it was measured in the precision, else by the least sure
 * values that it is made of.
 */
export function parameterSpreads(target: Target, precision: Assignment['rest']): number[] {
  const own = target.calibration?.[precision];
  return PARAMETERS.map((parameter) => {
    if (own) return SPREADS[own[parameter].status];
    const spreads = VALUES.filter(([, owner]) => owner === parameter)
      .map(([path]) => figureAt(target, path.replace('PRECISION', precision)))
      .filter((figure) => figure !== undefined)
      .map(({ status }) => SPREADS[status]);
    return Math.max(...spreads);
  });
}

/**
 * The values that a prediction rests on: those of the profile that change it, most first, without those that
 * measurements have corrected.
 */
export function supportOf(model: CostModel, network: LoweredNetwork, assignment: Assignment): Support[] {
  const { target } = model;
  const calibration = calibrationOf(target, assignment.rest);
  const formats = model.formats(network, assignment);
  const now = Math.log(model.predict(network, assignment, formats).seconds);
  const usesHost = network.kernels.some(({ unit }) => unit === 'host');
  const found: Support[] = [];
  for (const [pattern, parameter] of VALUES) {
    if ((calibration && parameter !== null) || (!usesHost && /\bhost\b/.test(pattern))) continue;
    const path = pattern.replace('PRECISION', assignment.rest);
    const figure = figureAt(target, path);
    if (!figure) continue;
    const changed = withFigure(target, path.split('.'), { ...figure, value: figure.value * 1.02 });
    const then = Math.log(model.withRates(changed).predict(network, assignment, formats).seconds);
    const elasticity = (then - now) / Math.log(1.02);
    if (Math.abs(elasticity) >= 0.01)
      found.push({ value: path, status: figure.status, source: target.sources[figure.source]!, elasticity });
  }
  return found.sort((a, b) => Math.abs(b.elasticity) - Math.abs(a.elasticity));
}

/**
 * The range that a time lies in with 90 %: the error of the model, and what the values that it rests on add, as if they
 * were independent and their logarithms normal.
 */
export function intervalOf(
  target: Target,
  precision: Assignment['rest'],
  seconds: number,
  support: readonly Support[],
): [number, number] {
  const error = calibrationOf(target, precision)?.error.value ?? target.error.value;
  const variance = support.reduce(
    (sum, { elasticity, status }) => sum + (elasticity * SPREADS[status]) ** 2,
    error ** 2,
  );
  const factor = Math.exp(NINETY * Math.sqrt(variance));
  return [seconds / factor, seconds * factor];
}
