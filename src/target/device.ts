import type { Factors, Figure, Target } from '../config/target.js';
import { EXIT, UserError } from '../errors.js';
import { PRECISIONS, type Precision } from './precision.js';

/** The six values that measurements correct, and that an uncertainty is kept of. */
export const PARAMETERS = ['matrix', 'vector', 'memory', 'layer', 'operator', 'run'] as const;
export type Parameter = (typeof PARAMETERS)[number];

/** What a device does in a second in one precision, all cores together, calibration applied. */
export interface Rates {
  precision: Precision;
  /** Rows, inner length and columns that products are padded to, and the taps and channels that may make up the inner length. */
  tile: readonly [number, number, number];
  tapTile: readonly [number, number] | null;
  /** Share of moving and computing at the same time, 0 to 1. */
  overlap: number;
  /** Multiplications and additions of the matrix unit, padding counted. */
  matrix: number;
  depthwise: number;
  depthwiseTaps: number;
  /** Elements of one byte that the vector unit passes over; those of two bytes take twice as long. */
  vector: number;
  /** Share of the vector unit that an operator uses which works on one block of channels at a time. */
  blockShare: number;
  weights: number;
  activations: number;
  onChip: number;
  onChipBytes: number;
  /** Channels of a stored map are padded to so many bytes; 0 where they are not. */
  channelBlock: number;
  /** Bytes between the buffers; null where they are not known. */
  buffers: { l1: number; l0a: number; l0b: number; l0c: number; toL0a: number; toL0b: number } | null;
  /** Seconds that a kernel takes to start, with a product of matrices and without. */
  layer: number;
  operator: number;
  run: number;
  host: { seconds: number; bandwidth: number; elements: number };
  /** Factors on the time of kernels by operator. */
  kinds: Readonly<Record<string, number>>;
}

/** Factors that measurements called for; all 1 where nothing was measured. */
export const NO_FACTORS: Readonly<Record<Parameter, number>> = {
  matrix: 1,
  vector: 1,
  memory: 1,
  layer: 1,
  operator: 1,
  run: 1,
};

/** Precisions that a device computes layers in. */
export const precisionsOf = ({ compute }: Target): Precision[] => Object.keys(compute.matrix) as Precision[];

/** What layers compute in where nothing is quantized; null on a device without floating point. */
export const floatPrecision = (target: Target): Precision | null =>
  precisionsOf(target).find((name) => name === 'fp16') ??
  precisionsOf(target).find((name) => name === 'fp32') ??
  null;

/**
 * The calibration of a precision; where it was not measured, that of one with activations as wide, which moves the same
 * bytes, and else any.
 */
export function calibrationOf(target: Target, precision: Precision): Factors | null {
  const calibration = target.calibration ?? {};
  const own = calibration[precision];
  if (own) return own;
  const wide = PRECISIONS[precision].activations;
  const known = Object.keys(calibration) as Precision[];
  const near = known.find((name) => PRECISIONS[name].activations === wide) ?? known[0];
  return near === undefined ? null : calibration[near]!;
}

/**
 * What a device does in a second in a precision.
 * @param factors on the values of the profile; those of its calibration when left out
 * @throws UserError TARGET_PRECISION when it does not compute in it
 */
export function ratesOf(
  target: Target,
  precision: Precision,
  factors: Readonly<Record<Parameter, number>> = factorsOf(calibrationOf(target, precision)),
): Rates {
  const { compute, memory, overhead, host } = target;
  const unit = compute.matrix[precision];
  if (!unit) throw noPrecision(target, precision);
  const value = <T>({ value: inner }: Figure<T>): T => inner;
  const cycles = compute.clock.value * compute.cores.value ** compute.coreExponent.value;
  const { buffers } = memory;
  return {
    precision,
    tile: unit.tile.value,
    tapTile: unit.tapTile?.value ?? null,
    overlap: compute.overlap?.value ?? 1,
    matrix: cycles * unit.macsPerCycle.value * factors.matrix,
    depthwise: cycles * compute.depthwise.macsPerCycle.value * factors.vector,
    depthwiseTaps: compute.depthwise.tapTile.value,
    vector: cycles * compute.vectorBytes.value * factors.vector,
    blockShare:
      memory.channelBlock.value === 0
        ? 1
        : Math.min(1, memory.channelBlock.value / compute.vectorBytes.value),
    weights: memory.weights.value * factors.memory,
    activations: memory.activations.value * factors.memory,
    onChip: memory.onChip.bandwidth.value * factors.memory,
    onChipBytes: memory.onChip.bytes.value,
    channelBlock: memory.channelBlock.value,
    buffers: buffers
      ? {
          l1: value(buffers.l1),
          l0a: value(buffers.l0a),
          l0b: value(buffers.l0b),
          l0c: value(buffers.l0c),
          toL0a: cycles * value(buffers.toL0a) * factors.memory,
          toL0b: cycles * value(buffers.toL0b) * factors.memory,
        }
      : null,
    layer: overhead.layer.value * factors.layer,
    operator: overhead.operator.value * factors.operator,
    run: overhead.run.value * factors.run,
    host: {
      seconds: overhead.host.value,
      bandwidth: host.bandwidth.value,
      elements: host.elements.value,
    },
    kinds: calibrationOf(target, precision)?.kinds ?? {},
  };
}

/** The factors of a calibration as numbers. */
export function factorsOf(calibration: Factors | null): Readonly<Record<Parameter, number>> {
  if (!calibration) return NO_FACTORS;
  return Object.fromEntries(PARAMETERS.map((name) => [name, calibration[name].value])) as Record<
    Parameter,
    number
  >;
}

function noPrecision(target: Target, precision: Precision): UserError {
  const known = precisionsOf(target);
  return new UserError('TARGET_PRECISION', `${target.name} does not compute in ${precision}.`, {
    exitCode: EXIT.usage,
    expected: `one of ${known.join(', ')}`,
    found: precision,
    suggestions: [`Ask for --precision ${known.join(',')}, or name another --target.`],
  });
}
